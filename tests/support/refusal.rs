//! A gateway that does not start: how it ends and what it says.

use std::process::{Command, Output, Stdio};

use super::process::Setup;

/// How a start ended.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    /// What was said to people, without `error: `; empty if there was no such line.
    pub error: String,
    /// Lines of the log.
    pub log: Vec<String>,
}

/// Runs a command to its end, which is killed if it does not come in time.
pub async fn run(mut command: Command) -> Refusal {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id().to_string();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = match tokio::time::timeout(std::time::Duration::from_secs(20), ended).await {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
            panic!("the start neither succeeds nor fails: {command:?}");
        }
    };
    read(&output)
}

fn read(output: &Output) -> Refusal {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (log, said): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('{'));
    let error = said.join("\n");
    Refusal {
        code: output.status.code(),
        error: error.strip_prefix("error: ").unwrap_or_default().to_owned(),
        log: log.into_iter().map(str::to_owned).collect(),
    }
}

impl Refusal {
    /// Checks that the configuration was refused in one line that begins with `start` and holds all `words`.
    #[track_caller]
    pub fn says(&self, start: &str, words: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert!(!self.error.contains('\n'), "one line: {self:?}");
        assert!(self.error.starts_with(start), "{:?} does not begin with {start:?}", self.error);
        for word in words {
            assert!(self.error.contains(word), "{:?} lacks {word:?}", self.error);
        }
        for word in ["usize", "u64", "u32", "i64", "struct ", "enum ", "Option<", "variant", "::"] {
            let shown = self.error.replace("[::]:8080", "").replace("as ::1", "");
            assert!(!shown.contains(word), "{:?} shows `{word}` to people", self.error);
        }
    }
}

impl Setup {
    /// Starts it and expects that it ends.
    pub async fn refused(&self) -> Refusal {
        run(self.command()).await
    }
}
