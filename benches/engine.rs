//! Times linking and removing trees by chsnap's engine, by other tools, and by bare system calls.
//!
//! ```text
//! cargo bench --bench engine -- [--parts 5000] [--files 40] [--rounds 5] [--output docs/benchmark-results.md]
//! ```
//!
//! No server is needed. Everything is in one temporary folder, so `TMPDIR` says which filesystem is measured.
//! `docs/benchmarks.md` says what is compared and why. Nothing here fails for being slow.

#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

#[path = "support/raw.rs"]
mod raw;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use chsnap::exec::{self, PlaceMode};
use chsnap::fs::{Dir, real};
use clap::Parser;
use rayon::ThreadPool;
use tempfile::TempDir;

use raw::Shape;
use testkit::bench::program::CommonArgs;
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{machine, program};

#[derive(Debug, Parser)]
#[command(about = "Times linking and removing of a tree against cp, rsync, rm and bare system calls")]
struct Args {
    /// Directories of the tree
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    parts: u32,
    /// Files in each
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Measured rounds, after one that is not measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Numbers of threads at which the bare calls are tried
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    threads: Vec<usize>,
    /// Seconds between rounds; 0 for a filesystem that does not avoid inodes that were just freed
    #[arg(long, default_value_t = FREED_INODES_ARE_AVOIDED_FOR)]
    pause: u64,
    #[command(flatten)]
    common: CommonArgs,
}

/// A program that links or removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    Chsnap,
    Raw,
    Coreutils,
    Rsync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Link,
    Remove,
}

impl Job {
    fn rivals(self) -> &'static [Program] {
        match self {
            Self::Link => &[Program::Chsnap, Program::Raw, Program::Coreutils, Program::Rsync],
            Self::Remove => &[Program::Chsnap, Program::Raw, Program::Coreutils],
        }
    }

    fn name(self, program: Program) -> &'static str {
        match (self, program) {
            (Self::Link, Program::Chsnap) => "chsnap's link engine",
            (Self::Link, Program::Raw) => "bare `linkat` of names known before",
            (Self::Link, Program::Coreutils) => "`cp -al`",
            (Self::Link, Program::Rsync) => "`rsync -aH --numeric-ids --link-dest`",
            (Self::Remove, Program::Chsnap) => "chsnap's removal",
            (Self::Remove, Program::Raw) => "bare `unlinkat` of names known before",
            (Self::Remove, Program::Coreutils | Program::Rsync) => "`rm -rf`",
        }
    }

    /// The aim: how many times faster than this program chsnap should be.
    fn aim(self, program: Program) -> Option<f64> {
        match (self, program) {
            (_, Program::Chsnap) => None,
            (Self::Link, Program::Raw) => Some(1.0 / 1.15),
            (Self::Link, Program::Coreutils) => Some(2.3),
            (Self::Link, Program::Rsync) => Some(10.0),
            (Self::Remove, Program::Raw) => Some(1.0 / 1.2),
            (Self::Remove, Program::Coreutils | Program::Rsync) => Some(2.0),
        }
    }
}

/// `EXT4_RECENTCY_MIN` in Linux' `fs/ext4/ialloc.c`, and a second.
const FREED_INODES_ARE_AVOIDED_FOR: u64 = 61;
const BYTES: usize = 300;

/// Seconds of each job, by program.
type Round = BTreeMap<(Job, Program), f64>;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let machine = machine::describe(&std::env::temp_dir());
    let mut bench = Bench::prepare(&args);
    bench.choose_threads(&args.threads);
    bench.round(0);
    let rounds: Vec<Round> = (1..=args.rounds).map(|number| bench.round(number)).collect();
    let text = bench.markdown(&machine, &rounds);
    program::finish(&text, &args.common, "engine");
}

struct Bench {
    folder: TempDir,
    shape: Shape,
    filesystem: File,
    pool: ThreadPool,
    has_rsync: bool,
    pause: Duration,
    /// The number of threads at which the bare calls are fastest.
    threads: BTreeMap<Job, usize>,
}

impl Bench {
    fn prepare(args: &Args) -> Self {
        let folder = tempfile::Builder::new().prefix("chsnap-engine-").tempdir().expect("a temporary folder");
        let shape = Shape { parts: args.parts, files: args.files };
        println!("making {} files …", thousands(shape.count()));
        shape.make(&folder.path().join("source"), &[b'x'; BYTES]).expect("the tree is made");
        let dir = Dir::open(folder.path(), real()).expect("the folder is there");
        let bench = Self {
            filesystem: File::open(folder.path()).expect("the folder is there"),
            shape,
            pool: exec::pool(exec::usual_jobs(&dir)).expect("threads start"),
            pause: Duration::from_secs(args.pause),
            has_rsync: Command::new("rsync").arg("--version").output().is_ok_and(|output| output.status.success()),
            threads: BTreeMap::new(),
            folder,
        };
        bench.sync();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Earlier writes must not count.
    fn sync(&self) {
        nix::unistd::syncfs(&self.filesystem).expect("the filesystem can be synced");
    }

    fn timed(&self, work: impl FnOnce()) -> f64 {
        self.sync();
        let begun = Instant::now();
        work();
        self.sync();
        begun.elapsed().as_secs_f64()
    }

    fn choose_threads(&mut self, tried: &[usize]) {
        let mut seconds: BTreeMap<Job, Vec<(f64, usize)>> = BTreeMap::new();
        for threads in tried.iter().copied() {
            let target = self.path("threads");
            let linked = self.timed(|| self.shape.link(&self.path("source"), &target, threads));
            let removed = self.timed(|| self.shape.remove(&target, threads));
            seconds.entry(Job::Link).or_default().push((linked, threads));
            seconds.entry(Job::Remove).or_default().push((removed, threads));
            println!("  bare calls on {threads} threads: link {linked:.2} s, remove {removed:.2} s");
            thread::sleep(self.pause);
        }
        self.threads = seconds
            .into_iter()
            .filter_map(|(job, tried)| Some((job, tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))?.1)))
            .collect();
    }

    /// Each program links the tree, a different one first in each round; then each removes one of the trees.
    fn round(&self, number: u32) -> Round {
        let mut round = Round::new();
        for job in [Job::Link, Job::Remove] {
            let mut order = job.rivals().to_vec();
            let turn = number as usize % order.len();
            order.rotate_left(turn);
            for program in order {
                if program == Program::Rsync && !self.has_rsync {
                    continue;
                }
                let target = self.path(&format!("{program:?}"));
                let seconds = match job {
                    Job::Link => self.timed(|| self.link(program, &target)),
                    Job::Remove => self.timed(|| self.remove(program, &target)),
                };
                if job == Job::Link {
                    self.shape.check_links(&self.path("source"), &target);
                } else {
                    assert!(!target.exists(), "{program:?} removes everything");
                }
                round.insert((job, program), seconds);
            }
        }
        if self.has_rsync {
            fs::remove_dir_all(self.path("Rsync")).expect("rsync's tree is there");
        }
        let shown: Vec<String> =
            round.iter().map(|((job, program), seconds)| format!("{job:?} {program:?} {seconds:.2} s")).collect();
        println!("  round {number}: {}", shown.join(", "));
        self.sync();
        thread::sleep(self.pause);
        round
    }

    fn link(&self, program: Program, target: &Path) {
        let source = self.path("source");
        match program {
            Program::Chsnap => {
                fs::create_dir(target).expect("a new directory");
                let open = |path: &Path| Dir::open(path, real()).expect("a directory");
                let (from, to) = (open(&source), open(target));
                self.pool.install(|| exec::place_parts(&from, &to, PlaceMode::Link)).expect("the tree is linked");
            }
            Program::Raw => self.shape.link(&source, target, self.threads[&Job::Link]),
            Program::Coreutils => run(Command::new("cp").arg("-al").args([&source, target])),
            Program::Rsync => {
                let slash = |path: &Path| format!("{}/", path.display());
                let mut rsync = Command::new("rsync");
                rsync.args(["-aH", "--numeric-ids", "--link-dest", &slash(&source), &slash(&source), &slash(target)]);
                run(&mut rsync);
            }
        }
    }

    fn remove(&self, program: Program, target: &Path) {
        match program {
            Program::Chsnap => {
                let parent = Dir::open(self.folder.path(), real()).expect("a directory");
                let name = target.file_name().expect("a name");
                self.pool.install(|| exec::remove_tree(&parent, name, &|_| ())).expect("the tree is removed");
            }
            Program::Raw => self.shape.remove(target, self.threads[&Job::Remove]),
            Program::Coreutils | Program::Rsync => run(Command::new("rm").arg("-rf").arg(target)),
        }
    }

    fn markdown(&self, machine: &str, rounds: &[Round]) -> String {
        let mut text = format!(
            "{machine}. {} files in {} directories. Rounds: {}. Every line ends with a `syncfs`.\n",
            thousands(self.shape.count()),
            thousands(self.shape.parts.into()),
            rounds.len()
        );
        for (job, title) in [(Job::Link, "Link"), (Job::Remove, "Remove")] {
            let bare = self.threads[&job];
            write!(text, "\n| {title} | Median s | Least to most | chsnap is faster, pair by pair | Aim |\n")
                .expect("text");
            text.push_str("|---|---:|---:|---:|---:|\n");
            for program in job.rivals() {
                let seconds =
                    |program: Program| rounds.iter().filter_map(move |round| round.get(&(job, program)).copied());
                if seconds(*program).next().is_none() {
                    writeln!(text, "| {} | not here | | | |", job.name(*program)).expect("text");
                    continue;
                }
                let spread = Spread::of(seconds(*program));
                let ratio =
                    Spread::of(seconds(*program).zip(seconds(Program::Chsnap)).map(|(other, ours)| other / ours));
                let threads = if *program == Program::Raw { format!(", {bare} threads") } else { String::new() };
                let aim = job.aim(*program).map_or(String::new(), |aim| {
                    let is_met = if ratio.median >= aim { "met" } else { "**not met**" };
                    format!("{aim:.2}: {is_met}")
                });
                writeln!(
                    text,
                    "| {}{threads} | {:.2} | {:.2} to {:.2} | {:.2} ({:.2} to {:.2}) | {aim} |",
                    job.name(*program),
                    spread.median,
                    spread.least,
                    spread.most,
                    ratio.median,
                    ratio.least,
                    ratio.most
                )
                .expect("text");
            }
        }
        text
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
