//! Times `chsnap verify --level data`, reading alone, and hashing alone.
//!
//! ```text
//! cargo bench --bench verify -- [--gigabytes 4] [--rounds 5] [--output docs/benchmark-results.md]
//! ```
//!
//! Everything is in one temporary folder, so `TMPDIR` says which filesystem is measured. `docs/benchmarks.md` says
//! what is compared and why. Nothing here fails for being slow.

#![expect(clippy::print_stdout, reason = "this program answers a person")]
#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::cast_precision_loss, reason = "a few significant digits are shown")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use chsnap::checksums::FileHasher;
use clap::Parser;
use rustix::fs::Advice;
use serde_json::Value;

use testkit::bench::program::CommonArgs;
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{machine, measure, program};
use testkit::chsnap_command::Chsnap;
use testkit::store::{Store, bytes, part_of};

#[derive(Debug, Parser)]
#[command(about = "Times chsnap verify against reading alone and hashing alone")]
struct Args {
    /// Size of the snapshot
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    gigabytes: u64,
    /// Measured runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    common: CommonArgs,
}

const AIM: f64 = 0.8;
/// Eight files of one part: columns of a wide part after a few merges.
const FILES: u64 = 8;
const FILE_BYTES: u64 = 16 << 20;
/// What a reader asks for who only wants the bytes.
const PIECE_BYTES: usize = 1 << 20;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let machine = machine::describe(&std::env::temp_dir());
    let text = Bench::prepare(args.gigabytes).run(&machine, args.rounds);
    program::finish(&text, &args.common, "verify");
}

/// Bytes a second of each, in one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    cold_read: f64,
    cold_verify: f64,
    warm_read: f64,
    warm_verify: f64,
}

struct Bench {
    chsnap: Chsnap,
    files: Vec<PathBuf>,
    total_bytes: u64,
    _store: Store,
}

impl Bench {
    fn prepare(gigabytes: u64) -> Self {
        let store = Store::within(&std::env::temp_dir());
        let parts = gigabytes * (1 << 30) / (FILES * FILE_BYTES);
        println!("making {parts} parts of {FILES} files …");
        let length = usize::try_from(FILE_BYTES).expect("a small number");
        let piece = bytes(1, length);
        for number in 0..parts {
            let file = |at: u64| {
                // Each file its own bytes, without making gigabytes of them one by one.
                let mut content = piece.clone();
                let turn = usize::try_from((number * FILES + at) * 4099).expect("a small number") % length;
                content.rotate_left(turn);
                (format!("c{at}.bin"), content)
            };
            store.put("parts", &format!("all_{number}_{number}_0"), &part_of((0..FILES).map(file).collect()));
        }
        let id = store.snapshot();
        let files = files_below(&store.at(id).join("data"));
        let total_bytes = files.iter().map(|file| file.metadata().expect("a file").len()).sum();
        let chsnap = Chsnap::new(&store.repo());
        Self { chsnap, files, total_bytes, _store: store }
    }

    fn run(&self, machine: &str, rounds: u32) -> String {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let hash = hash_rate();
        let mut measured = Vec::new();
        for number in 0..=rounds {
            let round = Round {
                cold_read: self.cold(|| self.read(threads)),
                cold_verify: self.cold(|| self.verify()),
                warm_read: self.rate(|| self.read(threads)),
                warm_verify: self.rate(|| self.verify()),
            };
            println!(
                "  {}: {round:.3?}",
                if number == 0 { "not counted".to_owned() } else { format!("round {number}") }
            );
            if number > 0 {
                measured.push(round);
            }
        }
        self.markdown(machine, threads, hash, &measured)
    }

    /// Nothing of the files is in memory before.
    fn cold(&self, body: impl FnOnce()) -> f64 {
        for path in &self.files {
            let file = File::open(path).expect("a file");
            file.sync_all().expect("synced");
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("advice is taken");
        }
        self.rate(body)
    }

    fn rate(&self, body: impl FnOnce()) -> f64 {
        let begun = Instant::now();
        body();
        self.total_bytes as f64 / begun.elapsed().as_secs_f64()
    }

    /// Reads every file to its end, each by one thread.
    fn read(&self, threads: usize) {
        let next = Mutex::new(self.files.iter());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut buffer = vec![0; PIECE_BYTES];
                    loop {
                        let Some(path) = next.lock().expect("no thread panics").next() else { return };
                        let file = File::open(path).expect("a file");
                        rustix::fs::fadvise(&file, 0, None, Advice::Sequential).expect("advice is taken");
                        let mut at = 0;
                        while let taken @ 1.. = file.read_at(&mut buffer, at).expect("readable") {
                            at += taken as u64;
                        }
                    }
                });
            }
        });
    }

    /// The whole process.
    fn verify(&self) {
        let command = self.chsnap.command(&["--json", "--progress", "none", "verify", "--level", "data"]);
        let measured = measure::command(&command);
        let answer: Value =
            serde_json::from_str(&measured.stdout).unwrap_or_else(|error| panic!("{error}: {}", measured.stderr));
        assert_eq!(measured.code, 0, "{answer}");
        assert_eq!(answer["checked"]["read_bytes"], self.total_bytes, "everything was read");
    }

    fn markdown(&self, machine: &str, threads: usize, hash: f64, rounds: &[Round]) -> String {
        let mut text = format!("{machine}.\n\n");
        let gigabytes = self.total_bytes as f64 / 1e9;
        let line = |name: &str, rate: fn(&Round) -> f64| {
            let Spread { least, median, most } = Spread::of(rounds.iter().map(|round| rate(round) / 1e9));
            format!("| {name} | {median:.2} | {least:.2} to {most:.2} |\n")
        };
        let share = |verify: fn(&Round) -> f64, read: fn(&Round) -> f64| {
            let bound = hash * threads as f64;
            Spread::of(rounds.iter().map(|round| verify(round) / read(round).min(bound))).median
        };
        writeln!(
            text,
            "{gigabytes:.1} GB in {} files. Rounds: {}. Threads: {threads}.\n",
            thousands(self.files.len() as u64),
            rounds.len()
        )
        .expect("a String takes everything");
        text.push_str("| What | Median GB/s | Least to most |\n|---|---:|---:|\n");
        writeln!(text, "| the hash alone, one thread, in memory | {:.2} | |", hash / 1e9)
            .expect("a String takes everything");
        text.push_str(&line("reading alone, from the disk", |round| round.cold_read));
        text.push_str(&line("`chsnap verify --level data`, from the disk", |round| round.cold_verify));
        text.push_str(&line("reading alone, from memory", |round| round.warm_read));
        text.push_str(&line("`chsnap verify --level data`, from memory", |round| round.warm_verify));
        let cold = share(|round| round.cold_verify, |round| round.cold_read);
        let warm = share(|round| round.warm_verify, |round| round.warm_read);
        let answer = if cold >= AIM { "met" } else { "**not met**" };
        writeln!(
            text,
            "\n- From the disk `verify` reaches {:.0} % of the smaller of reading alone and {threads} times the hash; \
             {:.0} % is {answer}.\n- From memory it reaches {:.0} % of the same.",
            cold * 100.0,
            AIM * 100.0,
            warm * 100.0
        )
        .expect("a String takes everything");
        text
    }
}

/// Bytes a second of the hash alone, in pieces as `verify` has them.
fn hash_rate() -> f64 {
    let piece = bytes(2, 256 << 10);
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let (mut hasher, mut done, begun) = (FileHasher::new(), 0_u64, Instant::now());
        while done < 1 << 30 {
            hasher.update(&piece);
            done += piece.len() as u64;
        }
        std::hint::black_box(hasher.finish());
        best = best.max(done as f64 / begun.elapsed().as_secs_f64());
    }
    best
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("mutation_")) {
            files.push(path);
        }
    }
    files.sort();
    files
}
