//! How long `chsnap copy` takes to another filesystem, compared with rsync of the same trees and with a second `create`.
//!
//! ```text
//! cargo bench --bench copy -- [--parts 500] [--files 40] [--rounds 3] [--output docs/benchmark-results.md]
//! ```
//!
//! Root is needed: the other filesystem is an ext4 in a file, mounted for this program alone. The server is one that only
//! freezes. rsync is left out, and named, where it is not installed. Everything is below the temporary folder, so `TMPDIR`
//! says which disk is measured. Nothing here fails for being slow.

#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use serde_json::Value;

use testkit::bench::program::CommonArgs;
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{machine, measure, program};
use testkit::chsnap_command::Chsnap;
use testkit::freezer::Freezer;
use testkit::hoard::Numbers;
use testkit::small_disk::SmallDisk;

#[derive(Debug, Parser)]
#[command(about = "Times chsnap copy against rsync and against a second create")]
struct Args {
    /// Parts of the first night
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(50..))]
    parts: u32,
    /// Files of each part, in addition to two that its checksums do not cover
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Measured runs, each on a filesystem of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    common: CommonArgs,
}

/// One part in this number is new in the second night.
const NEW_SHARE: u32 = 50;
const FILE_BYTES: u64 = 24_000;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let mut text = format!("{}.\n", machine::describe(&std::env::temp_dir()));
    let rounds: Vec<[Seconds; 2]> = (0..args.rounds).map(|round| measured(&args, round)).collect();
    table(&args, &rounds, &mut text).expect("a String takes everything");
    program::finish(&text, &args.common, "copy");
}

/// Seconds by `copy`, by rsync and by `create`; none by what is not installed.
type Seconds = [Option<f64>; 3];

/// How long the first copy takes, and the night after it.
fn measured(args: &Args, round: u32) -> [Seconds; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = u64::from(args.parts) * u64::from(args.files) * FILE_BYTES;
    let disk = SmallDisk::sized("mkfs.ext4", ((bytes * 5) >> 20) + 400);
    let freezer = Freezer::start(&folder.path().join("ch"));
    let mut numbers = Numbers(u64::from(round) + 1);
    add_parts(&freezer, folder.path(), 1..=args.parts, args.files, &mut numbers);
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    let again = Chsnap::new(&disk.path().join("create")).url(freezer.url());
    let copies = disk.path().join("copy");
    let by_rsync = disk.path().join("rsync");
    fs::create_dir(&by_rsync).expect("made");
    for chsnap in [&chsnap, &again] {
        chsnap.expect(0, &["init"]);
    }
    let has_rsync = Command::new("rsync").arg("--version").output().is_ok_and(|output| output.status.success());
    let mut last: Option<PathBuf> = None;
    [0, 1].map(|night| {
        if night == 1 {
            let new = args.parts + 1..=args.parts + args.parts / NEW_SHARE;
            add_parts(&freezer, folder.path(), new, args.files, &mut numbers);
        }
        let id = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
        let copy = timed(&chsnap.command(&["--json", "--progress", "none", "copy", &id, "--to", text_of(&copies)]));
        let mut rsync = Command::new("sh");
        let to = by_rsync.join(night.to_string());
        let link = last.as_ref().map(|last| format!("--link-dest={}", last.display())).unwrap_or_default();
        let from = chsnap.repo().join("snapshots").join(&id);
        let script = format!(
            "rsync -aH --numeric-ids {link} {}/ {}/ && sync -f {}",
            from.display(),
            to.display(),
            by_rsync.display()
        );
        rsync.args(["-c", &script]);
        let rsync = has_rsync.then(|| timed(&rsync));
        last = Some(to);
        let create = timed(&again.command(&["--json", "--progress", "none", "create", "--place", "auto"]));
        let by_rsync = rsync.map_or_else(|| "not installed".to_owned(), |seconds| format!("{seconds:.2} s"));
        println!("  round {round}, night {night}: copy {copy:.2} s, rsync {by_rsync}, create {create:.2} s");
        [Some(copy), rsync, Some(create)]
    })
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn timed(command: &Command) -> f64 {
    let run = measure::command(command);
    assert_eq!(run.code, 0, "{command:?}: {}", run.stderr);
    assert_ne!(serde_json::from_str::<Value>(&run.stdout).ok(), Some(Value::Null));
    run.seconds
}

/// Parts with these numbers, whose files are all different.
fn add_parts(
    freezer: &Freezer,
    folder: &Path,
    parts: std::ops::RangeInclusive<u32>,
    files: u32,
    numbers: &mut Numbers,
) {
    for part in parts {
        // Each in a partition of its own, as the last part of a day is, so that what is new is frozen alone.
        let name = format!("{part}_{part}_{part}_0");
        freezer.add_small_part("events", &name);
        let dir = folder.join("ch/data/d/events").join(name);
        fs::remove_file(dir.join("k.bin")).expect("removed");
        let mut checksums = format!("checksums format version: 2\n{files} files:\n");
        // In the order of their names, as the server writes them.
        for file in 0..files {
            let length = usize::try_from(numbers.below(FILE_BYTES * 2) + 1).expect("small");
            let seed = numbers.below(1 << 30).to_le_bytes();
            let bytes: Vec<u8> = seed.iter().copied().cycle().take(length).collect();
            let hash = u128::from_le_bytes(chsnap::checksums::hash_bytes(&bytes).to_bytes());
            let (low, high) = (hash & u128::from(u64::MAX), hash >> 64);
            let entry = format!("c{file:04}.bin\n\tsize: {length}\n\thash: {low} {high}\n\tcompressed: 0\n");
            checksums.push_str(&entry);
            fs::write(dir.join(format!("c{file:04}.bin")), bytes).expect("written");
        }
        fs::write(dir.join("checksums.txt"), checksums).expect("written");
    }
}

fn table(args: &Args, rounds: &[[Seconds; 2]], text: &mut String) -> std::fmt::Result {
    let files = u64::from(args.parts) * u64::from(args.files + 2);
    let bytes = u64::from(args.parts) * u64::from(args.files) * FILE_BYTES;
    writeln!(
        text,
        "\n{} parts, {} files, about {} MB, to another ext4; then a night with 2 % new parts. Rounds: {}.\n",
        thousands(args.parts.into()),
        thousands(files),
        bytes / 1_000_000,
        args.rounds
    )?;
    writeln!(
        text,
        "| What | First s | Least to most | To `copy`, round by round | Night s | Least to most | To `copy`, round by round |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    )?;
    for (column, what) in [
        "`chsnap copy`: compared with all checksums, sealed, synced",
        "`rsync -aH --numeric-ids --link-dest`, `sync -f`: nothing compared",
        "a second `chsnap create`, which freezes once more",
    ]
    .iter()
    .enumerate()
    {
        if rounds.iter().any(|round| round.iter().any(|night| night[column].is_none())) {
            writeln!(text, "| {what} | not installed | | | | | |")?;
            continue;
        }
        write!(text, "| {what} |")?;
        for night in [0, 1] {
            let own = Spread::of(rounds.iter().filter_map(|round| round[night][column]));
            let ratios = rounds.iter().filter_map(|round| Some(round[night][column]? / round[night][0]?));
            let ratio = Spread::of(ratios);
            write!(
                text,
                " {:.2} | {:.2} to {:.2} | {:.2} ({:.2} to {:.2}) |",
                own.median, own.least, own.most, ratio.median, ratio.least, ratio.most
            )?;
        }
        writeln!(text)?;
    }
    Ok(())
}
