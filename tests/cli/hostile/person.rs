//! The users who run the commands: this user, and an ordinary one too if this one is root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use wait_timeout::ChildExt as _;

use super::canary::{Canary, give};
use crate::chsnap_command::Run;
use crate::cli::support::Lab;
use crate::freezer::Freezer;

/// Who runs a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person {
    /// None: the user who runs the tests.
    pub(crate) uid: Option<u32>,
}

/// A user id that no account has.
const UID: u32 = 54_321;

/// Longer than any command here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of memory that a command may have for itself, its stacks among them.
pub(crate) const MEMORY: u64 = 1 << 30;

/// Says what is not tested here.
#[expect(clippy::print_stderr, reason = "a test that is not run must say so")]
pub(crate) fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// This user, and an ordinary one.
pub(crate) fn people() -> Vec<Person> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|stat| stat.uid() == 0);
    if !is_root {
        skipped("as root and as an ordinary user: the tests are not run by root");
    }
    let other = is_root.then_some(Person { uid: Some(UID) });
    [Some(Person { uid: None }), other].into_iter().flatten().collect()
}

/// A repository, a canary next to it, and the user who owns them.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) nights: Vec<String>,
    pub(crate) canary: Canary,
    pub(crate) person: Person,
    program: PathBuf,
}

impl Person {
    /// All of what there is to try, and for the ordinary user the first of it: what differs is what one may, not what
    /// one reads.
    pub(crate) fn share<T: Clone>(self, all: &[T]) -> Vec<T> {
        let few = if self.uid.is_some() { FEW.min(all.len()) } else { all.len() };
        all[..few].to_vec()
    }
}

const FEW: usize = 2;

/// A text without the styles that chsnap itself gives it.
pub(crate) fn bare(text: &str) -> String {
    ["[0m", "[1m", "[31m", "[33m", "[36m"]
        .iter()
        .fold(text.to_owned(), |text, style| text.replace(&format!("\u{1b}{style}"), ""))
}

/// Whether a terminal would act on something in a text.
pub(crate) fn garbles(text: &str) -> bool {
    bare(text).chars().any(|letter| (letter.is_control() && letter != '\n') || letter == '\u{202e}')
}

impl Scene {
    pub(crate) fn new(person: Person, nights: u32) -> Self {
        let (lab, nights) = Lab::in_memory_with_nights(nights);
        Self::of(person, lab, nights)
    }

    fn of(person: Person, lab: Lab, nights: Vec<String>) -> Self {
        fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_chsnap"));
        if person.uid.is_some() {
            // The directories above the program may be closed to others.
            program = lab.path().join("chsnap");
            // By another process: what this one writes, a child of another test may still hold open.
            let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_chsnap")).arg(&program).status();
            assert!(status.expect("cp starts").success());
        }
        give(&lab.repo(), person.uid);
        std::os::unix::fs::lchown(lab.path(), person.uid, person.uid).expect("given away");
        let canary = Canary::new(&lab.path().join("outside"), person.uid);
        Self { lab, nights, canary, person, program }
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.lab.repo()
    }

    /// Everything below belongs to the person.
    pub(crate) fn give(&self, path: &Path) {
        give(path, self.person.uid);
    }

    /// A server with a table of two parts.
    pub(crate) fn freezer(&self) -> Freezer {
        let freezer = Freezer::start(&self.lab.path().join("ch"));
        freezer.add_part("t", "all_1_1_0");
        freezer.add_part("t", "all_2_2_0");
        if let Some(uid) = self.person.uid {
            freezer.run_by(uid);
        }
        give(&self.lab.path().join("ch"), self.person.uid);
        freezer
    }

    /// Runs a command to its end, which comes soon, without a panic, in little memory, and leaves outside alone.
    #[track_caller]
    pub(crate) fn run(&self, context: &str, arguments: &[&str]) -> Run {
        self.run_in(MEMORY, "http://127.0.0.1:9", context, arguments)
    }

    #[track_caller]
    pub(crate) fn run_in(&self, memory: u64, url: &str, context: &str, arguments: &[&str]) -> Run {
        let ours = self.lab.chsnap().clone().url(url).command(arguments);
        let mut command = Command::new("prlimit");
        command.arg(format!("--data={memory}")).arg("--").arg(&self.program).args(ours.get_args());
        for (name, value) in ours.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir("/");
        if let Some(uid) = self.person.uid {
            command.uid(uid).gid(uid);
        }
        let context = format!("{context}: chsnap {} as {:?}", shown(arguments), self.person);
        let run = finish(command, &context);
        self.canary.assert_untouched(&context);
        assert!(matches!(run.code, 0 | 1 | 2 | 3 | 10 | 11 | 13), "{context}: ended by {}\n{}", run.code, run.stderr);
        assert!(!run.stderr.contains("panicked"), "{context}: {}", run.stderr);
        assert!(run.stderr.len() < 1 << 20, "{context}: {} bytes of messages", run.stderr.len());
        run
    }
}

fn shown(arguments: &[&str]) -> String {
    arguments.join(" ").chars().take(100).collect()
}

fn read_all(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("the pipe is read");
        bytes
    })
}

#[track_caller]
fn finish(mut command: Command, context: &str) -> Run {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("prlimit of util-linux starts");
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (stdout, stderr) = (read_all(stdout), read_all(stderr));
    let Some(status) = child.wait_timeout(DEADLINE).expect("it is waited for") else {
        child.kill().expect("killed");
        panic!("{context}: it hangs");
    };
    let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().expect("it was read")).into_owned()
    };
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(1));
    Run { code, stdout: text(stdout), stderr: text(stderr) }
}
