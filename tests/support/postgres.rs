//! A real PostgreSQL server for tests: started in a temporary folder on a free port, gone when the test binary is.

use std::{
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

const OLDEST: u32 = 14;
const TRIES: u32 = 5;
/// PostgreSQL refuses to run as root; Debian's package makes this user.
const UNPRIVILEGED: &str = "postgres";

/// A running server. Dropped, or left behind by a process that was killed, it is stopped and its folder removed.
pub struct Postgres {
    bin: PathBuf,
    root: bool,
    folder: PathBuf,
    port: u16,
    /// Settings of this server alone, such as `log_statement=all`.
    settings: Vec<String>,
    watchdog: Option<Child>,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// Sessions are ended, and everything is written.
    Fast,
    /// As a crash would: it recovers at the next start.
    Immediate,
}

static SHARED: OnceLock<Postgres> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// The server that all tests of this binary share. Take a database of your own with [`Postgres::url`].
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(Self::private)
    }

    /// A server for one test, which may stop and start it.
    pub fn private() -> Self {
        Self::with(&[])
    }

    /// A server for one test, with settings of its own.
    pub fn with(settings: &[&str]) -> Self {
        let mut server = Self::unmade();
        server.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        run(server
            .command("initdb")
            .args(["--auth=trust", "--username=plangate", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pgdata")
            .arg(server.data()));
        server.first_start();
        server
    }

    /// A physical standby of the server that answers on `port`, from which it streams. Asynchronous: what the primary
    /// has committed may not be here yet. Returns when it answers.
    pub fn standby(port: u16) -> Self {
        let mut server = Self::unmade();
        run(server
            .command("pg_basebackup")
            .args([
                "--write-recovery-conf",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--no-sync",
                "--dbname",
            ])
            .arg(format!("host=127.0.0.1 port={port} user=plangate"))
            .arg("--pgdata")
            .arg(server.data()));
        server.first_start();
        server
    }

    /// A folder for a server, and who removes it.
    fn unmade() -> Self {
        let bin = find().unwrap_or_else(|| {
            panic!("no PostgreSQL {OLDEST} or newer in PATH or /usr/lib/postgresql/*/bin; run ./scripts/test, which installs it")
        });
        let root = output(Command::new("id").arg("-u")).trim() == "0";
        let folder = tempfile::Builder::new().prefix("plangate-pg-").tempdir_in("/tmp").unwrap().keep();
        if root {
            run(Command::new("chown").arg(UNPRIVILEGED).arg(&folder));
        }
        Self { watchdog: Some(watch(&bin, root, &folder)), bin, root, folder, port: 0, settings: Vec::new() }
    }

    fn first_start(&mut self) {
        for attempt in 1.. {
            // The port may be taken by somebody else before the server has it.
            self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if self.try_start() {
                break;
            }
            assert!(attempt < TRIES, "PostgreSQL does not start: {}", self.log());
        }
    }

    /// The address of a database that nobody else uses. It does not exist yet.
    pub fn url(&self) -> String {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        self.url_of(&format!("test_{}_{number}", std::process::id()))
    }

    /// The address of a database by name.
    pub fn url_of(&self, name: &str) -> String {
        format!("postgres://plangate@127.0.0.1:{}/{name}", self.port)
    }

    /// The port, which stays the same over a stop and a start.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(&self) {
        self.stop_by(Stop::Immediate);
    }

    pub fn stop_by(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        run(self.command("pg_ctl").args(["stop", "-w", "-m", mode, "-D"]).arg(self.data()));
    }

    /// Kills the server's first process with a signal that nobody can catch; the others end with it.
    pub fn kill(&self) {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        run(Command::new("kill").args(["-9", file.lines().next().unwrap()]));
    }

    /// Makes a standby a primary. Returns when it takes writes.
    pub fn promote(&self) {
        run(self.command("pg_ctl").args(["promote", "-w", "-D"]).arg(self.data()));
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Starts a stopped server again, on the same port.
    pub fn start(&self) {
        assert!(self.try_start(), "PostgreSQL does not start again on port {}", self.port);
    }

    /// Runs a statement behind everybody's back.
    pub fn run(&self, url: &str, statement: &str) {
        let mut psql = self.command("psql");
        run(psql.args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", statement, url]));
    }

    /// A statement that goes on for as long as its process does.
    pub fn psql(&self, url: &str, statement: &str) -> Command {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--command", statement, url]);
        psql
    }

    /// What a statement that gives one value gives.
    pub fn ask(&self, url: &str, statement: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement, url]);
        output(&mut psql).trim().to_owned()
    }

    fn try_start(&self) -> bool {
        let mut options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off \
             -c full_page_writes=off -c max_connections=300 -c shared_buffers=32MB",
            self.port,
            self.folder.display()
        );
        for setting in &self.settings {
            options.push_str(&format!(" -c {setting}"));
        }
        let mut command = self.command("pg_ctl");
        command.args(["start", "-w", "-t", "60", "-o", &options, "-l"]);
        command.arg(self.folder.join("log")).arg("-D").arg(self.data());
        quiet(&mut command).status().unwrap().success()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        as_user(self.root, &self.bin.join(program))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
    }
}

/// A process that outlives this one by as long as it takes to clean up: its input ends when this process does, however.
fn watch(bin: &Path, root: bool, folder: &Path) -> Child {
    let stop = as_user(root, &bin.join("pg_ctl"));
    let mut script = Command::new("sh");
    script.args([
        "-c",
        "cat >/dev/null; \"$@\" stop -w -m immediate -D \"$FOLDER/data\"; rm -rf \"$FOLDER\"",
        "sh",
    ]);
    script.arg(stop.get_program()).args(stop.get_args()).env("FOLDER", folder).current_dir("/");
    // A group of its own: Ctrl-C at the terminal must not reach it before its work is done.
    script.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    script.spawn().unwrap()
}

fn as_user(root: bool, program: &Path) -> Command {
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", UNPRIVILEGED, "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // The unprivileged user may not be allowed into this one's folder.
    command.current_dir("/").env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST");
    command
}

/// Nothing inherited: the server would hold our output open for as long as it lives.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn run(command: &mut Command) {
    let status = quiet(command).status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The folder of the newest server that is there.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let complete =
        |folder: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file());
    let known = folders.into_iter().filter(complete).filter_map(|folder| Some((major(&folder)?, folder)));
    known
        .filter(|(version, _)| *version >= OLDEST)
        .max_by_key(|(version, _)| *version)
        .map(|(_, folder)| folder)
}

/// `postgres (PostgreSQL) 15.4 (Debian ...)`, `postgres (PostgreSQL) 17beta1`.
fn major(folder: &Path) -> Option<u32> {
    let text = output(Command::new(folder.join("postgres")).arg("--version"));
    let version = text.split(") ").nth(1)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
