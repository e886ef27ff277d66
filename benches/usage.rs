//! Times `chsnap usage`, a plan of `chsnap prune`, and `du -s`.
//!
//! ```text
//! cargo bench --bench usage -- [--snapshots 100] [--parts 25000] [--files 40] [--output docs/benchmark-results.md]
//! ```
//!
//! The large repository has an index as if its files were there, and manifests, and no files. The smaller one is real.
//! Both are in one temporary folder, so `TMPDIR` says which filesystem is measured. Nothing here fails for being slow.

#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use chsnap::model::{Link, Links, PartName, PartitionId};
use chsnap::repo::{FilesOutsideParts, Index, InstanceOrigin, PartInstance};
use clap::Parser;
use serde_json::Value;

use testkit::bench::measure::Measured;
use testkit::bench::program::CommonArgs;
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{machine, measure, program};
use testkit::chsnap_command::Chsnap;
use testkit::hoard::{Hoard, Numbers};

#[derive(Debug, Parser)]
#[command(about = "Times chsnap usage and a plan of chsnap prune")]
struct Args {
    /// Snapshots of the large repository
    #[arg(long, default_value_t = 100)]
    snapshots: u32,
    /// Parts of each
    #[arg(long, default_value_t = 25_000)]
    parts: u32,
    /// Files of each part
    #[arg(long, default_value_t = 40)]
    files: u32,
    /// Parts of each snapshot of the real repository, which has 20 of them and as many files in a part
    #[arg(long, default_value_t = 250)]
    real_parts: u32,
    /// Measured runs of each command
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    common: CommonArgs,
}

/// One part of this many differs in the next night.
const CHANGED_SHARE: u32 = 50;
const REAL_NIGHTS: u32 = 20;
const TIME_LIMIT_SECONDS: f64 = 1.0;
const MEMORY_LIMIT_MB: f64 = 500.0;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let machine = machine::describe(&std::env::temp_dir());
    let mut text = format!("{machine}.\n");
    large(&args, &mut text).and_then(|()| real(&args, &mut text)).expect("a String takes everything");
    program::finish(&text, &args.common, "usage");
}

/// A command, as often as was asked for.
fn timed(chsnap: &Chsnap, arguments: &[&str], rounds: u32) -> (Spread, f64, Value) {
    let all = [&["--json", "--progress", "none"], arguments].concat();
    let runs: Vec<Measured> = (0..rounds)
        .map(|_| {
            let run = measure::command(&chsnap.command(&all));
            assert!(matches!(run.code, 0 | 3), "chsnap {arguments:?}: {}", run.stderr);
            run
        })
        .collect();
    let peak = runs.iter().map(|run| run.peak_rss_bytes).max().unwrap_or(0);
    let document = runs.last().and_then(|run| serde_json::from_str(&run.stdout).ok()).unwrap_or(Value::Null);
    #[expect(clippy::cast_precision_loss, reason = "a few significant digits are shown")]
    let peak_mb = peak as f64 / 1e6;
    (Spread::of(runs.iter().map(|run| run.seconds)), peak_mb, document)
}

fn row(text: &mut String, what: &str, seconds: &Spread, peak_mb: f64, document: &Value) -> std::fmt::Result {
    let cost = |name: &str| document["cost"]["seconds"][name].as_f64().unwrap_or(0.0);
    writeln!(
        text,
        "| {what} | {:.2} | {:.2} to {:.2} | {:.2} | {peak_mb:.0} |",
        seconds.median,
        seconds.least,
        seconds.most,
        cost("stat")
    )
}

const HEADER: &str =
    "| What | Median s | Least to most | Of it stat'ing again | Memory MB |\n|---|---:|---:|---:|---:|\n";

const PRUNE: [&str; 8] = ["prune", "--keep-daily", "7", "--keep-weekly", "4", "--keep-monthly", "12", "--dry-run"];

fn large(args: &Args, text: &mut String) -> std::fmt::Result {
    let folder = tempfile::tempdir().expect("a folder");
    println!("making an index of {} snapshots …", args.snapshots);
    let chsnap = fill(folder.path(), args);
    let files = u64::from(args.parts) * u64::from(args.files);
    let nights = u64::from(args.snapshots.saturating_sub(1));
    let distinct = files + nights * files / u64::from(CHANGED_SHARE);
    writeln!(text, "\n### {} snapshots of {} files, as the index has them\n", args.snapshots, thousands(files))?;
    writeln!(
        text,
        "{} parts in each, {} distinct files, 2 % new a night. Rounds: {}.\n",
        thousands(args.parts.into()),
        thousands(distinct),
        args.rounds
    )?;
    text.push_str(HEADER);
    let commands: [(&str, &[&str]); 4] = [
        ("`usage`", &["usage"]),
        ("`usage --by table`", &["usage", "--by", "table"]),
        ("`prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run`", &PRUNE),
        ("`prune --free 1MiB --dry-run`", &["prune", "--free", "1MiB", "--dry-run"]),
    ];
    let (mut slowest, mut largest) = (0.0_f64, 0.0_f64);
    for (what, arguments) in commands {
        let (seconds, peak_mb, document) = timed(&chsnap, arguments, args.rounds);
        slowest = slowest.max(seconds.median);
        largest = largest.max(peak_mb);
        row(text, what, &seconds, peak_mb, &document)?;
    }
    let answer = |is_met: bool| if is_met { "met" } else { "**not met**" };
    writeln!(text, "\n- Under {TIME_LIMIT_SECONDS:.0} s: {}.", answer(slowest < TIME_LIMIT_SECONDS))?;
    writeln!(text, "- Under {MEMORY_LIMIT_MB:.0} MB: {}.", answer(largest < MEMORY_LIMIT_MB))?;
    let index = chsnap.repo().join("index.sqlite").metadata().map_or(0, |stat| stat.len());
    writeln!(text, "- The index has {} MB.", index / 1_000_000)
}

/// Snapshots without files, and an index that says they have them, all of them the repository's alone.
fn fill(folder: &Path, args: &Args) -> Chsnap {
    let mut hoard = Hoard::new(folder);
    let ids: Vec<_> = (0..args.snapshots).map(|_| hoard.snapshot()).collect();
    let repository = hoard.open();
    let index = Index::open(&repository).expect("an index");
    let mut holdings = index.holdings(&repository);
    let mut next_inode = 1000;
    let mut block = 0;
    let mut part = |holdings: &mut chsnap::repo::Holdings| {
        block += 1;
        let links = (0..args.files).map(|_| {
            next_inode += 1;
            Link { inode: next_inode, blocks: 8, is_outside: false }
        });
        let origin = InstanceOrigin {
            database: "d".into(),
            table: format!("t{}", block % 40).into(),
            uuid: None,
            partition: PartitionId(format!("2026{:02}", block % 12 + 1).into()),
            part: PartName::try_from(format!("2026{:02}_{block}_{block}_0", block % 12 + 1)).expect("a name"),
            bytes: 4096,
            directories: 0,
        };
        holdings.add(PartInstance::new(&origin, Links::new(links.collect())))
    };
    let mut parts: Vec<u32> = (0..args.parts).map(|_| part(&mut holdings)).collect();
    for (night, id) in ids.iter().enumerate() {
        if night > 0 {
            // Spread over all parts, so that runs of instances are cut as they are in life.
            let step = CHANGED_SHARE as usize;
            let changed: Vec<usize> = (night % step..parts.len()).step_by(step).collect();
            for at in changed {
                if let Some(slot) = parts.get_mut(at) {
                    *slot = part(&mut holdings);
                }
            }
        }
        let stamp = Index::stamp(&repository.snapshot_dir(*id).expect("there")).expect("a manifest");
        let held = parts.iter().map(|part| (*part, 4096)).collect();
        holdings.set(*id, stamp, held, Some(FilesOutsideParts { directory_bytes: 4096 * 45, links: Links::default() }));
    }
    index.keep_holdings(&repository, &mut holdings);
    Chsnap::new(&hoard.repo())
}

fn real(args: &Args, text: &mut String) -> std::fmt::Result {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hoard = Hoard::new(folder.path());
    let mut numbers = Numbers(1);
    println!("making {REAL_NIGHTS} real snapshots …");
    for _ in 0..args.real_parts {
        hoard.insert("orders", args.files.into(), &mut numbers);
    }
    for _ in 0..REAL_NIGHTS {
        for _ in 0..args.real_parts / CHANGED_SHARE {
            let parts = hoard.parts();
            let (table, name) = parts.get(numbers.index(parts.len())).cloned().expect("a part");
            hoard.drop_part(&table, &name);
            hoard.insert("orders", args.files.into(), &mut numbers);
        }
        hoard.snapshot();
    }
    let chsnap = Chsnap::new(&hoard.repo());
    let files = u64::from(args.real_parts) * u64::from(args.files);
    writeln!(text, "\n### {REAL_NIGHTS} real snapshots of {} files\n", thousands(files))?;
    writeln!(
        text,
        "{} parts in each, 2 % new a night, the newest linked by live parts.\n",
        thousands(args.real_parts.into())
    )?;
    text.push_str(HEADER);
    let (seconds, peak_mb, document) = timed(&chsnap, &["usage"], 1);
    row(text, "`usage`, its index lost", &seconds, peak_mb, &document)?;
    let commands: [(&str, &[&str]); 3] =
        [("`usage`", &["usage"]), ("a plan of `prune`", &PRUNE), ("`usage --exact`", &["usage", "--exact"])];
    for (what, arguments) in commands {
        let (seconds, peak_mb, document) = timed(&chsnap, arguments, args.rounds);
        row(text, what, &seconds, peak_mb, &document)?;
    }
    let mut du = Command::new("du");
    du.arg("-s").arg(chsnap.repo());
    let runs = (0..args.rounds).map(|_| measure::command(&du).seconds);
    let seconds = Spread::of(runs);
    writeln!(
        text,
        "| `du -s` of the repository | {:.2} | {:.2} to {:.2} | | |",
        seconds.median, seconds.least, seconds.most
    )
}
