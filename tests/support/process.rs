//! The gateway as a process of its own: started from a configuration, asked to stop, or killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    admin::{Admin, TOKEN},
    upstream::Upstream,
};

const START: Duration = Duration::from_secs(30);

/// A running gateway. Its [`Setup`] must live as long: it owns the folder.
pub struct Gateway {
    pub data: SocketAddr,
    pub admin: Admin,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    // Stays as long as anybody uses it, also where the set-up was a temporary value.
    _folder: Arc<TempDir>,
}

/// What a gateway is started from. Everything it keeps is in `folder`, so it can be started again on the same.
pub struct Setup {
    folder: Arc<TempDir>,
    pub config: Value,
    pub environment: Vec<(String, String)>,
}

/// Four plans, from nothing to everything; small numbers, so that tests reach them.
pub const POLICIES: &[(&str, &str)] = &[
    (
        "features.yaml",
        "features:\n  chat: {}\n  export: {}\nlimits:\n  seats: {}\nmeters:\n  requests: { unit: request }\n  ai_tokens: { unit: token }\n",
    ),
    (
        "routes.yaml",
        "unmatched: deny\ndefaults: { charge: { requests: 1 } }\nroutes:\n\
         \x20 - { match: \"GET /healthz\", public: true }\n\
         \x20 - { match: \"* /v1/messages\", features: [chat] }\n\
         \x20 - { match: \"GET /v1/messages/{id}\", features: [chat] }\n\
         \x20 - { match: \"* /v1/export/{*rest}\", features: [export], charge: { requests: 10 } }\n\
         \x20 - { match: \"POST /v1/ai/chat\", features: [chat], charge: { requests: 1, ai_tokens: 5 } }\n\
         \x20 - { match: \"GET /v1/me\", charge: {} }\n\
         \x20 - { match: \"* /v1/free/{*rest}\", charge: {} }\n",
    ),
    (
        "plans/small.yaml",
        "plan: small\ntitle: Small\nfeatures: [chat]\nlimits: { seats: 1 }\nquotas:\n  requests: { limit: 5 }\n",
    ),
    (
        "plans/slow.yaml",
        "plan: slow\nfeatures: [chat]\nquotas:\n  requests: { limit: 100000 }\nrates:\n  requests: { limit: 2, per: 1h, burst: 2 }\n",
    ),
    (
        "plans/big.yaml",
        "plan: big\nfeatures: [chat, export]\nlimits: { seats: 100 }\nquotas:\n  requests: { limit: 1000000 }\n  ai_tokens: { limit: 100, day: 20 }\n",
    ),
    (
        "plans/open.yaml",
        "plan: open\nfeatures: [chat, export]\nquotas:\n  requests: { limit: unlimited }\n  ai_tokens: { limit: 10, overage: { mode: bill, price: \"0.002\", per: 1000, cap: 10 } }\n",
    ),
];

impl Setup {
    /// A gateway in front of `upstream`, on SQLite, with [`POLICIES`].
    pub fn before(upstream: &Upstream) -> Self {
        Self::at(&format!("http://{}", upstream.address))
    }

    pub fn at(upstream: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let policies = folder.path().join("policies");
        for (name, text) in POLICIES {
            let path = policies.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = json!({
            "listen": "127.0.0.1:0",
            "upstream": upstream,
            "policies": path("policies"),
            "database": format!("sqlite://{}", path("data/plangate.db")),
            "data_dir": path("data"),
            "node": "a",
            "workers": 2,
            "admin": { "listen": "127.0.0.1:0", "token": TOKEN },
            "timeouts": { "drain": "5s" },
        });
        Self { folder, config, environment: Vec::new() }
    }

    /// Sets a key of the configuration, such as `/caps/connections`.
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.set(pointer, value);
        self
    }

    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) {
        let mut place = &mut self.config;
        for part in pointer.split('/').skip(1) {
            place = &mut place[part];
        }
        *place = value.into();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the policy folder, all at once as an editor does.
    pub fn policy(&self, name: &str, text: &str) {
        let (path, draft) = (self.path("policies").join(name), self.path("draft"));
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    /// The command, not yet started.
    pub fn command(&self) -> Command {
        let file = self.path("plangate.yaml");
        // JSON is YAML.
        fs::write(&file, self.config.to_string()).unwrap();
        let mut command = plangate();
        command.args(["serve", "--config"]).arg(file).current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts it and waits until it serves.
    pub async fn start(&self) -> Gateway {
        self.spawn(self.command()).serving().await
    }

    /// Starts it by a command made from [`Setup::command`], without waiting for anything.
    pub fn spawn(&self, mut command: Command) -> Starting {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (serving, served) = mpsc::channel();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
                if parsed["message"] == "serving" {
                    let address = |name: &str| parsed[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
                    let _ = serving.send((address("data"), address("admin")));
                }
                lines.lock().unwrap().push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let gateway =
            Gateway { data: nowhere, admin: Admin(nowhere), child, log, _folder: Arc::clone(&self.folder) };
        Starting { gateway, served }
    }
}

/// A gateway that may not serve yet. Dropped, it is ended.
pub struct Starting {
    gateway: Gateway,
    served: mpsc::Receiver<(SocketAddr, SocketAddr)>,
}

impl Starting {
    /// Waits until it serves.
    pub async fn serving(self) -> Gateway {
        let Self { mut gateway, served } = self;
        let waited = tokio::task::spawn_blocking(move || served.recv_timeout(START)).await.unwrap();
        let Ok((data, admin)) = waited else { panic!("the gateway does not serve") };
        (gateway.data, gateway.admin) = (data, Admin(admin));
        gateway
    }

    /// Waits until it serves, or has ended with a status and what it logged.
    pub async fn outcome(self) -> Result<Gateway, (ExitStatus, String)> {
        let Self { mut gateway, served } = self;
        // Its log ends with the process.
        let waited = tokio::task::spawn_blocking(move || served.recv_timeout(START)).await.unwrap();
        match waited {
            Ok((data, admin)) => {
                (gateway.data, gateway.admin) = (data, Admin(admin));
                Ok(gateway)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the gateway neither serves nor ends"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = gateway.ended().await;
                Err((status, gateway.log()))
            }
        }
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(self) -> ExitStatus {
        self.gateway.stop().await
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.gateway.log()
    }
}

/// The binary, without the environment of whoever runs the tests.
pub fn plangate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plangate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PLANGATE_")) {
        command.env_remove(name);
    }
    command.env("PLANGATE_LOG", "info,plangate=debug");
    command
}

/// The command, run by a shell that first does something to itself.
pub fn through_shell(command: &Command, first: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

impl Gateway {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Sends a signal such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
        if name == "STOP" {
            self.stands_still();
        }
    }

    /// Waits until every thread has stopped: each does when it is next to run, which may be a while on a busy machine.
    fn stands_still(&self) {
        let stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in brackets.
            stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with(['T', 't']))
        };
        for _ in 0..1_000 {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            if tasks.flatten().all(stopped) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it does not stand still");
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it ends.
    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..3000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway does not end:\n{}", self.log());
    }

    /// Ends it as a power switch would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}\n---", self.log());
        }
    }
}

/// Waits until something is so; for what has no signal of its own. Bounded.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came about that {what}");
}

/// Writes a file and returns its path as text.
pub fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}
