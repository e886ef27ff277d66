//! Runs `chsnap` under strace: once to list its system calls, then repeatedly with a fault at one of them.
//!
//! strace counts `when=` for each thread and each system call separately. A call is therefore identified by its kind and by
//! how many of that kind its thread has made; if another thread gets that far earlier, the fault hits that one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chsnap_command::{Chsnap, Run};

/// The calls with which `chsnap` and its SQLite change a filesystem.
const CHANGES: [&str; 19] = [
    "mkdir",
    "mkdirat",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "symlinkat",
    "unlink",
    "unlinkat",
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "syncfs",
    "fchown",
    "fchmod",
    "utimensat",
];

/// The calls with which it talks to the server.
const TALK: [&str; 3] = ["sendto", "writev", "recvfrom"];

/// The calls that look at a file and change nothing.
const LOOKS: [&str; 2] = ["newfstatat", "statx"];

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; the call itself is not executed.
    Kill,
    /// It fails with this error and has no effect.
    Error(&'static str),
}

/// One system call of a run.
#[derive(Clone, Debug)]
pub struct Call {
    thread: u32,
    pub kind: String,
    /// As strace shows it.
    pub text: String,
}

/// All relevant system calls of a run.
#[derive(Debug)]
pub struct Trace {
    calls: Vec<Call>,
}

/// The `when`-th system call of a kind that a thread makes.
#[derive(Clone, Debug)]
pub struct Strike {
    kind: String,
    when: usize,
}

/// A run with an injected fault.
#[derive(Debug)]
pub struct Struck {
    pub run: Run,
    /// Whether the process was killed.
    pub killed: bool,
    /// The calls that failed on purpose.
    pub injected: Vec<String>,
    pub trace: Trace,
}

impl Trace {
    fn read(path: &Path) -> Self {
        let text = String::from_utf8_lossy(&fs::read(path).expect("strace's output")).into_owned();
        let mut calls: Vec<Call> = Vec::new();
        // strace splits a call into two lines if another thread makes a call meanwhile.
        let mut unfinished: BTreeMap<u32, usize> = BTreeMap::new();
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else { continue };
            if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                if let Some(call) = unfinished.remove(&thread).and_then(|number| calls.get_mut(number)) {
                    call.text.push_str(end);
                }
                continue;
            }
            let Some((kind, _)) = rest.split_once('(') else { continue };
            if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                continue;
            }
            let (begin, is_cut) = rest.strip_suffix(" <unfinished ...>").map_or((rest, false), |begin| (begin, true));
            if is_cut {
                unfinished.insert(thread, calls.len());
            }
            calls.push(Call { thread, kind: kind.to_owned(), text: begin.to_owned() });
        }
        Self { calls }
    }

    /// The calls with which it changed something below `root`, by their numbers.
    pub fn changes(&self, root: &Path) -> Vec<usize> {
        let root = root.to_string_lossy();
        self.numbers(|call| {
            CHANGES.contains(&call.kind.as_str())
                && call.text.contains(&*root)
                && (call.kind != "openat" || call.text.contains("O_CREAT"))
        })
    }

    /// The calls with which it talked to a server, by their numbers.
    pub fn talk(&self) -> Vec<usize> {
        self.numbers(|call| TALK.contains(&call.kind.as_str()) && call.text.contains("<socket:"))
    }

    fn numbers(&self, wanted: impl Fn(&Call) -> bool) -> Vec<usize> {
        self.calls.iter().enumerate().filter(|(_, call)| wanted(call)).map(|(number, _)| number).collect()
    }

    pub fn call(&self, number: usize) -> &Call {
        &self.calls[number]
    }

    /// How to hit a call, or the one of another thread that has the same number there and comes earlier.
    pub fn strike(&self, number: usize) -> Strike {
        let target = self.call(number);
        let is_counted = |call: &&Call| call.thread == target.thread && call.kind == target.kind;
        let when = self.calls[..=number].iter().filter(is_counted).count();
        Strike { kind: target.kind.clone(), when }
    }

    /// All calls: kind, and text as strace shows it.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.calls.iter().map(|call| (call.kind.as_str(), call.text.as_str()))
    }

    /// Changes of `shadow/increment.txt`, which belongs to the server alone.
    pub fn changes_of_the_counter(&self) -> Vec<&str> {
        let changes = |call: &&Call| {
            CHANGES.contains(&call.kind.as_str())
                && call.text.contains("increment.txt")
                && (call.kind != "openat" || ["O_WRONLY", "O_RDWR"].iter().any(|flag| call.text.contains(flag)))
        };
        self.calls.iter().filter(changes).map(|call| call.text.as_str()).collect()
    }
}

impl Chsnap {
    /// Runs it to its end and lists its calls.
    #[track_caller]
    pub fn traced(&self, arguments: &[&str]) -> Trace {
        let struck = self.under_strace(arguments, None);
        assert_eq!(struck.run.code, 0, "strace chsnap {arguments:?}\n{}\n{}", struck.run.stdout, struck.run.stderr);
        assert!(!struck.trace.calls.is_empty(), "strace shows no call: {}", struck.run.stderr);
        struck.trace
    }

    /// Runs it with an injected fault.
    pub fn struck(&self, arguments: &[&str], strike: &Strike, fault: Fault) -> Struck {
        self.under_strace(arguments, Some((strike, fault)))
    }

    fn under_strace(&self, arguments: &[&str], strike: Option<(&Strike, Fault)>) -> Struck {
        let log: PathBuf = self.repo().with_extension("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "40", "-e", "signal=none", "-o"]).arg(&log);
        // The process then stops at the traced calls only. strace 6.1 injects no signal in this mode.
        if !matches!(strike, Some((_, Fault::Kill))) {
            strace.arg("--seccomp-bpf");
        }
        let traced = CHANGES.iter().chain(&TALK).chain(&LOOKS).map(|kind| format!("?{kind}"));
        strace.arg("-e").arg(format!("trace={}", traced.collect::<Vec<_>>().join(",")));
        if let Some((Strike { kind, when }, fault)) = strike {
            let fault = match fault {
                Fault::Kill => "signal=KILL".to_owned(),
                Fault::Error(name) => format!("error={name}"),
            };
            strace.arg("-e").arg(format!("inject={kind}:{fault}:when={when}"));
        }
        let output = self.under(strace, arguments).output().expect("strace starts");
        let trace = Trace::read(&log);
        let injected = trace.calls.iter().map(|call| &call.text).filter(|text| text.contains("(INJECTED)"));
        Struck {
            // strace ends as its command did, including by the same signal.
            killed: std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9),
            injected: injected.cloned().collect(),
            run: Run::of(&output),
            trace,
        }
    }
}

/// Pseudo-random numbers from a seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Seeded with `CHSNAP_SEED`, which reproduces a failure, and with a text that distinguishes tests with the same
    /// seed.
    pub fn new(salt: &str) -> (Self, String) {
        let seed = std::env::var("CHSNAP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
        let salt = salt.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        (Self(salt), format!("CHSNAP_SEED={seed}"))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % bound as u64).expect("less than a usize")
    }

    /// `count` of these calls, of as many kinds as possible; all of them with `CHSNAP_FULL`.
    pub fn choose(&mut self, trace: &Trace, mut calls: Vec<usize>, count: usize) -> Vec<usize> {
        if is_full() {
            return calls;
        }
        let mut by_kind: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        while !calls.is_empty() {
            let call = calls.swap_remove(self.below(calls.len()));
            by_kind.entry(trace.call(call).kind.as_str()).or_default().push(call);
        }
        let mut chosen = Vec::new();
        while chosen.len() < count && !by_kind.is_empty() {
            // Each kind once, in any order, then each once more.
            let mut turn: Vec<usize> = by_kind.values_mut().filter_map(Vec::pop).collect();
            while !turn.is_empty() && chosen.len() < count {
                chosen.push(turn.swap_remove(self.below(turn.len())));
            }
            by_kind.retain(|_, calls| !calls.is_empty());
        }
        chosen
    }
}

/// Whether every call is tried, not only a few.
pub fn is_full() -> bool {
    std::env::var_os("CHSNAP_FULL").is_some()
}

/// Whether only some kinds of calls are tried, as `CHSNAP_CALLS` says, which divides a long test.
pub fn is_divided() -> bool {
    std::env::var_os("CHSNAP_CALLS").is_some()
}

/// Whether these calls are tried.
pub fn are_tried(calls: &str) -> bool {
    std::env::var("CHSNAP_CALLS").map_or(true, |chosen| calls.contains(&chosen))
}
