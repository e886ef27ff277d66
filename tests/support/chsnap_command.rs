//! Runs the `chsnap` binary as a whole command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::schemas;

/// A command line under construction, with its repository.
#[derive(Clone, Debug)]
pub struct Chsnap {
    repo: PathBuf,
    url: String,
    env: Vec<(String, String)>,
    program: PathBuf,
}

/// The result of a command.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Chsnap {
    /// Creates a command for this repository; commands that need a server get the address of one that does not exist.
    pub fn new(repo: &Path) -> Self {
        // Port 9 is the discard service, on which no server answers.
        Self { repo: repo.to_owned(), url: "http://127.0.0.1:9".to_owned(), env: Vec::new(), program: crate::program() }
    }

    #[must_use]
    pub fn url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another program than the one under test, such as an earlier version.
    #[must_use]
    pub fn program(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.program);
        self
    }

    pub fn repo(&self) -> &Path {
        &self.repo
    }

    /// The command, not yet started.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHSNAP_")) {
            command.env_remove(name);
        }
        // No configuration of this machine applies: these directories do not exist.
        command.env("CHSNAP_SYSTEM_CONFIG_DIR", self.repo.with_extension("etc"));
        command.env("XDG_CONFIG_HOME", self.repo.with_extension("config"));
        command.env_remove("CREDENTIALS_DIRECTORY");
        command.env("CHSNAP_REPO", &self.repo).env("CHSNAP_URL", &self.url);
        command.env("XDG_STATE_HOME", self.repo.with_extension("state"));
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Run {
        Run::of(&self.command(arguments).output().expect("chsnap starts"))
    }

    /// The command as the last arguments of another one, which will run it.
    pub fn under(&self, mut other: Command, arguments: &[impl AsRef<OsStr>]) -> Command {
        let inner = self.command(arguments);
        other.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        other
    }

    /// Runs it with `--json` and parses the document, which must match its schema; checks the exit code.
    #[track_caller]
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let mut all = vec!["--json", "--progress", "none"];
        all.extend(arguments);
        let run = self.run(&all);
        assert_eq!(run.code, code, "chsnap {arguments:?}\n{}\n{}", run.stdout, run.stderr);
        let text = if matches!(code, 0 | 3 | 12 | 13) { &run.stdout } else { &run.stderr };
        let document = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        schemas::check(&document);
        document
    }

    /// Runs it, and checks the exit code.
    #[track_caller]
    pub fn expect(&self, code: i32, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "chsnap {arguments:?}\n{}\n{}", run.stdout, run.stderr);
        run
    }

    /// Runs it in its own mount namespace, prepared by a shell script that finds a path in `$DATA`. `None` if this user
    /// may not create one.
    pub fn in_namespace(&self, prepare: &str, data: &Path, arguments: &[&str]) -> Option<Run> {
        let probe = Command::new("unshare").args(["-m", "true"]).output().ok()?;
        if !probe.status.success() {
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-euc", &format!("{prepare}; exec \"$@\""), "sh"]).env("DATA", data);
        Some(Run::of(&self.under(command, arguments).output().expect("unshare starts")))
    }
}

impl Run {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
