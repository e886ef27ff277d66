//! What `chsnap` takes for very many files, tables and parts: seconds beside bare system calls, memory, and how both grow.
//!
//! ```text
//! tests/support/engines/install
//! cargo bench --bench scale -- [--files 10000000] [--tables 5000] [--parts 100000] [--output docs/benchmark-results.md]
//! ```
//!
//! Root is needed: the files are on an ext4 of their own, which is a file mounted for this program alone; they are tiny, so
//! that most have no block. They are frozen by a mock server. The tables and the parts of one table are those of a real
//! 26.9, once in the given number and once in half of it. 0 leaves a section out. Everything is below the temporary
//! folder, so `TMPDIR` says which disk is measured. Nothing here fails for being slow.

#![expect(clippy::cast_precision_loss, reason = "a few significant digits are shown")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use serde_json::Value;

use testkit::bench::program::CommonArgs;
use testkit::bench::section::thousands;
use testkit::bench::{copies, machine, measure, program, threads};
use testkit::chsnap_command::Chsnap;
use testkit::engine::{Engine, Kind};
use testkit::freezer::Freezer;
use testkit::small_disk::SmallDisk;

#[derive(Debug, Parser)]
#[command(about = "Times chsnap on very many files, tables and parts")]
struct Args {
    /// Files of the first section, 40 in a part
    #[arg(long, default_value_t = 10_000_000)]
    files: u32,
    /// Tables of the second, with ten parts each
    #[arg(long, default_value_t = 5_000)]
    tables: u32,
    /// Parts of the one table of the third, each in a partition of its own
    #[arg(long, default_value_t = 100_000)]
    parts: u32,
    #[command(flatten)]
    common: CommonArgs,
}

/// One part, table or partition of this many changes between two nights.
const CHANGED_SHARE: u32 = 50;
/// Files of a part: two are those that its checksums do not cover.
const FILES_OF_A_PART: u32 = 40;
const PARTS_OF_A_TABLE: u32 = 10;
const MEMORY_LIMIT_MB: f64 = 500.0;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let mut text = format!("{}.\n", machine::describe(&std::env::temp_dir()));
    if args.files > 0 {
        files(args.files / FILES_OF_A_PART, &mut text).expect("a String takes everything");
    }
    if args.tables > 0 {
        let what = format!("tables with {PARTS_OF_A_TABLE} parts each");
        grown(&what, args.tables, make_tables, change_tables, &mut text).expect("a String takes everything");
    }
    if args.parts > 0 {
        grown("parts of one table", args.parts, make_parts, change_parts, &mut text)
            .expect("a String takes everything");
    }
    program::finish(&text, &args.common, "scale");
}

/// A command that was run once: its seconds, its memory at most, its answer.
struct Ran {
    seconds: f64,
    megabytes: f64,
    answer: Value,
}

fn run(chsnap: &Chsnap, arguments: &[&str]) -> Ran {
    nix::unistd::sync();
    let run = measure::command(&chsnap.command(&[&["--json", "--progress", "none"], arguments].concat()));
    assert_eq!(run.code, 0, "{arguments:?}: {}{}", run.stdout, run.stderr);
    let answer = serde_json::from_str(&run.stdout).expect("a document");
    println!("  {arguments:?}: {:.1} s, {} MB", run.seconds, run.peak_rss_bytes / 1_000_000);
    Ran { seconds: run.seconds, megabytes: run.peak_rss_bytes as f64 / 1e6, answer }
}

/// Seconds of one of a snapshot's stages.
fn stage(ran: &Ran, name: &str) -> f64 {
    ran.answer.pointer(&format!("/seconds/{name}")).and_then(Value::as_f64).unwrap_or(0.0)
}

// --- files ------------------------------------------------------------------------------------------------------------

/// One table of this many parts with tiny files, and the repository on the same filesystem.
fn files(parts: u32, text: &mut String) -> std::fmt::Result {
    let inodes = u64::from(parts) * u64::from(FILES_OF_A_PART + 8) * 11 / 10;
    let disk = SmallDisk::for_tiny_files(inodes);
    let freezer = Freezer::start(&disk.path().join("ch"));
    let begun = Instant::now();
    add_parts(&freezer, disk.path(), 0..parts);
    println!("  {parts} parts made in {:.0} s", begun.elapsed().as_secs_f64());
    let chsnap = Chsnap::new(&disk.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let live = disk.path().join("ch/data/d/events");
    let new = parts / CHANGED_SHARE;
    let mut rows: Vec<(&str, Ran, Option<f64>)> = Vec::new();
    let first = run(&chsnap, &["create", "--name", "first"]);
    let files = first.answer.pointer("/files").and_then(Value::as_u64).unwrap_or(0);
    rows.push(("the first `create`, its freeze included", first, None));
    for (night, what) in
        ["`create`, 2 % new, the others compared", "`create`, 2 % new, the others known"].into_iter().enumerate()
    {
        let from = parts + new * u32::try_from(night).expect("two nights");
        add_parts(&freezer, disk.path(), from..from + new);
        let ran = run(&chsnap, &["create"]);
        let bare = copies::bare_links(&live, &disk.path().join(format!("bare_{night}")), threads::cores());
        rows.push((what, ran, Some(bare)));
    }
    let stats = seconds(|| stat_all(&live));
    rows.push(("`usage`", run(&chsnap, &["usage"]), Some(stats)));
    rows.push(("a plan of `prune`", run(&chsnap, &["prune", "--keep-last", "1", "--dry-run"]), Some(stats)));
    rows.push(("`rm` of the first one, into the trash", run(&chsnap, &["rm", "first"]), None));
    let removed = disk.path().join("bare_0");
    let gc = run(&chsnap, &["gc"]);
    rows.push(("`gc`, which removes its files", gc, Some(seconds(|| remove_all(&removed)))));
    writeln!(text, "\n### {} files in {} parts\n", thousands(files), thousands(parts.into()))?;
    writeln!(
        text,
        "The bare calls: of `create` one `linkat` for each file of all parts and a `syncfs`, of `usage` and `prune` one \
         `lstat` for each file, of `gc` one `unlinkat` for each; names known before, two threads for two cores.\n"
    )?;
    writeln!(text, "| What | Seconds | Bare calls s | Memory MB |\n|---|---:|---:|---:|")?;
    for (what, ran, bare) in &rows {
        let bare = bare.map(|seconds| format!("{seconds:.1}")).unwrap_or_default();
        writeln!(text, "| {what} | {:.1} | {bare} | {:.0} |", ran.seconds, ran.megabytes)?;
    }
    let most = rows.iter().map(|(_, ran, _)| ran.megabytes).fold(0.0, f64::max);
    writeln!(text, "\n- Under {MEMORY_LIMIT_MB:.0} MB each: {}.", is_met(most <= MEMORY_LIMIT_MB))?;
    let stages = ["discover", "freeze", "place", "check", "seal", "index"];
    for (what, ran, _) in rows.iter().take(3) {
        let stages: Vec<String> = stages.iter().map(|name| format!("{name} {:.1}", stage(ran, name))).collect();
        writeln!(text, "- Seconds in the stages of {what}: {}.", stages.join(", "))?;
    }
    Ok(())
}

/// Parts of tiny files, each in a partition of its own. No two files are equal.
fn add_parts(freezer: &Freezer, folder: &Path, parts: std::ops::Range<u32>) {
    let numbers: Vec<u32> = parts.collect();
    threads::for_each(threads::cores(), &numbers, |part| {
        let name = format!("{part}_{part}_{part}_0");
        freezer.add_small_part("events", &name);
        let dir = folder.join("ch/data/d/events").join(name);
        fs::remove_file(dir.join("k.bin")).expect("removed");
        let covered = FILES_OF_A_PART - 2;
        let mut checksums = format!("checksums format version: 2\n{covered} files:\n");
        for file in 0..covered {
            let bytes = (u64::from(*part) * u64::from(FILES_OF_A_PART) + u64::from(file)).to_le_bytes();
            let hash = u128::from_le_bytes(chsnap::checksums::hash_bytes(&bytes).to_bytes());
            let (low, high) = (hash & u128::from(u64::MAX), hash >> 64);
            let size = bytes.len();
            write!(checksums, "c{file:02}.bin\n\tsize: {size}\n\thash: {low} {high}\n\tcompressed: 0\n")
                .expect("written");
            fs::write(dir.join(format!("c{file:02}.bin")), bytes).expect("written");
        }
        fs::write(dir.join("checksums.txt"), checksums).expect("written");
    });
}

/// The directories in a directory, and the files of each.
fn each_part(root: &Path, work: impl Fn(&Path, &[PathBuf]) + Sync) {
    let paths = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
    };
    let parts = paths(root);
    threads::for_each(threads::cores(), &parts, |part| work(part, &paths(part)));
}

fn stat_all(root: &Path) {
    each_part(root, |_, files| {
        for file in files {
            assert!(fs::symlink_metadata(file).expect("a file").nlink() > 0);
        }
    });
}

fn remove_all(root: &Path) {
    each_part(root, |part, files| {
        for file in files {
            fs::remove_file(file).expect("removed");
        }
        fs::remove_dir(part).expect("an empty directory");
    });
    nix::unistd::syncfs(fs::File::open(root).expect("a directory")).expect("synced");
}

fn seconds(work: impl FnOnce()) -> f64 {
    nix::unistd::sync();
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

// --- tables and parts -------------------------------------------------------------------------------------------------

/// A change of the server's data: of this many.
type Change = fn(&Engine, u32);

/// Two snapshots of `count` and of half of it, the second after a change.
fn grown(what: &str, count: u32, make: Change, change: Change, text: &mut String) -> std::fmt::Result {
    writeln!(text, "\n### {} {what}, and half of them\n", thousands(count.into()))?;
    writeln!(
        text,
        "| What | Seconds of half | Of all | Growth | Of that, the server's FREEZE: half | All | Memory MB |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    )?;
    let [half, all] = [count / 2, count].map(|count| {
        println!("{count} {what}");
        let engine = Engine::start(Kind::V26);
        make(&engine, count);
        let chsnap = Chsnap::new(&engine.root().join("repo")).url(&engine.url());
        chsnap.expect(0, &["init"]);
        let first = run(&chsnap, &["create"]);
        // Compares everything once, so that the next one knows what did not change.
        run(&chsnap, &["create"]);
        change(&engine, count);
        [first, run(&chsnap, &["create"])]
    });
    let rows = ["the first `create`", "`create`, 2 % changed"];
    for ((what, half), all) in rows.into_iter().zip(&half).zip(&all) {
        writeln!(
            text,
            "| {what} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
            half.seconds,
            all.seconds,
            all.seconds / half.seconds,
            stage(half, "freeze"),
            stage(all, "freeze"),
            all.megabytes
        )?;
    }
    Ok(())
}

const MANY_PARTS: &str = "SETTINGS max_parts_in_total = 1000000, parts_to_delay_insert = 1000000, \
                          parts_to_throw_insert = 1000000";

fn make_tables(engine: &Engine, count: u32) {
    engine.query("CREATE DATABASE bench");
    for table in 0..count {
        engine.query(&format!(
            "CREATE TABLE bench.t{table} (p UInt32, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY v {MANY_PARTS}"
        ));
        insert(engine, &format!("t{table}"), 0, PARTS_OF_A_TABLE);
    }
}

fn change_tables(engine: &Engine, count: u32) {
    for table in (0..count).step_by(CHANGED_SHARE as usize) {
        insert(engine, &format!("t{table}"), 0, 1);
    }
}

fn make_parts(engine: &Engine, count: u32) {
    engine.query("CREATE DATABASE bench");
    engine.query(&format!(
        "CREATE TABLE bench.one (p UInt32, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY v {MANY_PARTS}"
    ));
    engine.query("SYSTEM STOP MERGES bench.one");
    for first in (0..count).step_by(100) {
        insert(engine, "one", first, 100.min(count - first));
    }
}

fn change_parts(engine: &Engine, count: u32) {
    let changed = count / CHANGED_SHARE;
    for first in (0..changed).step_by(100) {
        insert(engine, "one", first, 100.min(changed - first));
    }
}

/// A part in each of these partitions.
fn insert(engine: &Engine, table: &str, first: u32, partitions: u32) {
    engine.query(&format!("INSERT INTO bench.{table} SELECT {first} + number, number FROM numbers({partitions})"));
}

fn is_met(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}
