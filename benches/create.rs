//! Times `chsnap create`, its unavoidable parts, and the procedures that it replaces.
//!
//! ```text
//! tests/support/engines/install
//! cargo bench --bench create -- [--parts 5000] [--rounds 5] [--engine 18|26|both] [--earlier PROGRAM]
//!     [--output docs/benchmark-results.md]
//! ```
//!
//! Everything is in one temporary folder, so `TMPDIR` says which filesystem is measured. `docs/benchmarks.md` says
//! what is compared and why. Nothing here fails for being slow.

#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

#[path = "support/looking.rs"]
mod looking;
#[path = "support/report.rs"]
mod report;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;

use report::{Procedure, Round, Series};
use testkit::bench::measure::Measured;
use testkit::bench::program::{CommonArgs, Engines};
use testkit::bench::{machine, measure, program};
use testkit::chsnap_command::Chsnap;
use testkit::engine::{Engine, Kind};

#[derive(Debug, Parser)]
#[command(about = "Times chsnap create against FREEZE and against the same done by hand")]
struct Args {
    /// Parts of the table
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    parts: u32,
    /// Measured runs of each procedure, after one that is not measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Which ClickHouse
    #[arg(long, default_value = "both")]
    engine: Engines,
    /// Measure this program as well, such as one of an earlier version, with a repository of its own
    #[arg(long, value_name = "PROGRAM")]
    earlier: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Partitions of one INSERT: the server's default limit.
const PARTITIONS_AT_ONCE: u32 = 100;
/// `RECENTCY_MIN` in Linux' `fs/ext4/ialloc.c`, and a second.
const FREED_INODES_ARE_AVOIDED_FOR: Duration = Duration::from_secs(61);
/// One partition of this many changes between two nights.
const CHANGED_SHARE: u32 = 50;
const ROWS_PER_PART: u32 = 100;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let kinds = args.engine.kinds();
    let machine = machine::describe(&std::env::temp_dir());
    let series: Vec<Series> = kinds.into_iter().map(|kind| Bench::prepare(kind, &args).run(args.rounds)).collect();
    let text = report::markdown(&machine, &series);
    program::finish(&text, &args.common, "results");
}

/// One table on one engine, and a repository next to its data.
struct Bench {
    engine: Engine,
    chsnap: Chsnap,
    earlier: Option<Chsnap>,
    filesystem: File,
    series: Series,
    freezes: u32,
    partitions: u32,
    /// As many as there are now.
    parts: u64,
    changes: u32,
    /// The table's directory below the server's data, and below each shadow.
    table: PathBuf,
}

impl Bench {
    fn prepare(kind: Kind, args: &Args) -> Self {
        let engine = Engine::start(kind);
        let version = engine.query("SELECT version()");
        println!("ClickHouse {version}: making {} parts …", args.parts);
        let begun = Instant::now();
        make_table(&engine, args.parts);
        let parts = engine.query("SELECT count() FROM system.parts WHERE active AND database = 'bench'");
        let live =
            PathBuf::from(engine.query("SELECT path FROM system.parts WHERE active AND database = 'bench' LIMIT 1"));
        let chsnap = repository(&engine, "repo", &testkit::program());
        let earlier = args.earlier.as_deref().map(|program| repository(&engine, "repo-earlier", program));
        let filesystem = File::open(engine.root()).expect("the engine's folder is there");
        let table = live.parent().expect("a part lies in a table's directory");
        let in_data = table.strip_prefix(engine.data_path()).expect("the table is in the server's data").to_owned();
        let mut bench = Self {
            engine,
            chsnap,
            earlier,
            filesystem,
            series: Series::default(),
            freezes: 0,
            partitions: args.parts,
            parts: 0,
            changes: 0,
            table: in_data,
        };
        bench.series.version = version;
        bench.series.parts = parts.parse().expect("a count of parts");
        bench.parts = bench.series.parts;
        bench.series.files = count_files(table);
        println!(
            "  {} parts with {} files after {:.0} s",
            bench.series.parts,
            bench.series.files,
            begun.elapsed().as_secs_f64()
        );
        bench
    }

    fn run(mut self, rounds: u32) -> Series {
        // The first freeze of a file changes its mode, and reads what later ones find in memory. The snapshot of this
        // round stays: a repository has one before, and create looks at it.
        self.round(0);
        self.series.rounds.clear();
        self.series.peak_rss_bytes.clear();
        self.series.stages.clear();
        for number in 1..=rounds {
            let round = self.round(number as usize);
            let shown: Vec<String> =
                round.iter().map(|(what, seconds)| format!("{} {seconds:.2} s", what.short_name())).collect();
            println!("  round {number}: {}", shown.join(", "));
        }
        self.series
    }

    /// Every procedure once, each time another one first, and the one by hand last.
    ///
    /// What the others leave stays until the end: ext4 passes over inodes that were freed less than a minute ago, one by
    /// one, which would slow the next procedure. Only the procedure by hand removes something, so it is waited for.
    fn round(&mut self, number: usize) -> Round {
        let mut round = BTreeMap::new();
        // After the pause caches are cold, and the first procedure would pay for that: this one is not counted.
        self.freeze(false);
        let mut order = vec![
            Procedure::FreezeAndSync,
            Procedure::Create,
            Procedure::First,
            Procedure::OneMoment,
            Procedure::Look,
            Procedure::Freeze,
        ];
        let mut changed = vec![Procedure::Changed];
        if self.earlier.is_some() {
            order.insert(1, Procedure::Earlier);
            changed.push(Procedure::EarlierChanged);
        }
        let turn = number % order.len();
        order.rotate_left(turn);
        let turn = number % changed.len();
        changed.rotate_left(turn);
        let first_after_change = changed[0];
        for procedure in order.into_iter().chain(changed).chain([Procedure::ByHand]) {
            if procedure == first_after_change {
                self.change();
            }
            self.sync();
            let seconds = match procedure {
                Procedure::FreezeAndSync => self.freeze(true),
                Procedure::Look => self.freeze_and_look(),
                Procedure::Freeze => self.freeze(false),
                Procedure::ByHand => self.by_hand(),
                Procedure::Create => self.create(),
                Procedure::OneMoment => self.snapshot(&self.chsnap, &["--freeze", "all", "--one-moment"]).0.seconds,
                Procedure::Changed => self.snapshot(&self.chsnap, &[]).0.seconds,
                Procedure::Earlier => self.earlier(&["--freeze", "all"]),
                Procedure::EarlierChanged => self.earlier(&[]),
                Procedure::First => self.first(number),
            };
            round.insert(procedure, seconds);
        }
        self.sync();
        thread::sleep(FREED_INODES_ARE_AVOIDED_FOR);
        self.series.rounds.push(round.clone());
        round
    }

    /// A new part in each of a fiftieth of the partitions, other ones each time.
    fn change(&mut self) {
        let count = (self.partitions / CHANGED_SHARE).max(1);
        let first = self.changes * count % self.partitions;
        self.changes += 1;
        insert(&self.engine, first, count.min(self.partitions - first), 1);
        self.parts += u64::from(count.min(self.partitions - first));
    }

    /// Earlier writes must not count.
    fn sync(&self) {
        nix::unistd::syncfs(&self.filesystem).expect("the filesystem can be synced");
    }

    fn freeze(&mut self, sync: bool) -> f64 {
        let (name, _) = self.next_shadow();
        let begun = Instant::now();
        self.engine.query(&freeze_statement(&name));
        if sync {
            self.sync();
        }
        begun.elapsed().as_secs_f64()
    }

    fn freeze_and_look(&mut self) -> f64 {
        let (name, shadow) = self.next_shadow();
        let begun = Instant::now();
        self.engine.query(&freeze_statement(&name));
        thread::scope(|scope| {
            scope.spawn(|| self.sync());
            looking::look(&shadow.join(&self.table));
        });
        begun.elapsed().as_secs_f64()
    }

    fn by_hand(&mut self) -> f64 {
        let (name, shadow) = self.next_shadow();
        let copy = self.engine.root().join(format!("by-hand-{name}"));
        let begun = Instant::now();
        self.engine.query(&freeze_statement(&name));
        let script = r#"cp -rl "$0" "$1" && rm -rf "$0" && sync --file-system "$1""#;
        let status = Command::new("sh").args(["-c", script]).args([&shadow, &copy]).status().expect("sh starts");
        let seconds = begun.elapsed().as_secs_f64();
        assert!(status.success(), "cp, rm or sync failed");
        seconds
    }

    fn create(&mut self) -> f64 {
        let (measured, answer) = self.snapshot(&self.chsnap, &["--freeze", "all"]);
        self.series.peak_rss_bytes.push(measured.peak_rss_bytes);
        let seconds = answer["seconds"].as_object().expect("create tells its seconds");
        let stages = seconds.iter().map(|(stage, seconds)| (stage.clone(), seconds.as_f64().unwrap_or(0.0)));
        self.series.stages.push(stages.collect());
        measured.seconds
    }

    fn earlier(&self, more: &[&str]) -> f64 {
        let earlier = self.earlier.as_ref().expect("it was given");
        self.snapshot(earlier, more).0.seconds
    }

    fn first(&self, number: usize) -> f64 {
        let chsnap = repository(&self.engine, &format!("repo-{number}"), &testkit::program());
        self.sync();
        self.snapshot(&chsnap, &[]).0.seconds
    }

    fn snapshot(&self, chsnap: &Chsnap, more: &[&str]) -> (Measured, Value) {
        let command = chsnap.command(&[&["--json", "--progress", "none", "create"], more].concat());
        let measured = measure::command(&command);
        let answer: Value = serde_json::from_str(&measured.stdout)
            .unwrap_or_else(|error| panic!("create answered {}: {error}\n{}", measured.code, measured.stderr));
        assert_eq!(measured.code, 0, "create: {answer}");
        assert_eq!(answer["parts"], self.parts, "create took all parts");
        (measured, answer)
    }

    fn next_shadow(&mut self) -> (String, PathBuf) {
        self.freezes += 1;
        let name = format!("bench_{}", self.freezes);
        let shadow = self.engine.data_path().join("shadow").join(&name);
        (name, shadow)
    }
}

/// A new repository next to the engine's data, and a program for it.
fn repository(engine: &Engine, name: &str, program: &Path) -> Chsnap {
    let chsnap = Chsnap::new(&engine.root().join(name)).url(&engine.url()).program(program);
    chsnap.expect(0, &["init"]);
    chsnap
}

fn freeze_statement(name: &str) -> String {
    format!("ALTER TABLE bench.parts FREEZE WITH NAME '{name}'")
}

/// A table with one part in each partition and about 40 files in each part: two for a column, and those that every
/// part has.
fn make_table(engine: &Engine, parts: u32) {
    let (columns, settings) = match engine.kind() {
        Kind::V18 => (17, ""),
        Kind::V26 => (15, " SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"),
    };
    let names: Vec<String> = (1..columns).map(|number| format!("c{number} UInt64")).collect();
    engine.query("CREATE DATABASE bench");
    engine.query(&format!(
        "CREATE TABLE bench.parts (p UInt32, {}) ENGINE = MergeTree PARTITION BY p ORDER BY c1{settings}",
        names.join(", ")
    ));
    engine.query("SYSTEM STOP MERGES bench.parts");
    let at_once = PARTITIONS_AT_ONCE as usize;
    for first in (0..parts).step_by(at_once) {
        insert(engine, first, PARTITIONS_AT_ONCE.min(parts - first), ROWS_PER_PART);
    }
}

/// A part of this many rows in each of `count` partitions.
fn insert(engine: &Engine, first: u32, count: u32, rows: u32) {
    let columns = engine.query("SELECT count() FROM system.columns WHERE database = 'bench' AND table = 'parts'");
    let columns: u32 = columns.parse().expect("a count of columns");
    let values: Vec<String> = (1..columns).map(|number| format!("number * {number} + 1")).collect();
    engine.query(&format!(
        "INSERT INTO bench.parts SELECT toUInt32({first} + number % {count}), {} FROM numbers({})",
        values.join(", "),
        count * rows
    ));
}

/// Files of the parts in a table's directory.
fn count_files(table: &Path) -> u64 {
    let entries = |dir: &Path| fs::read_dir(dir).expect("a directory of the server can be read");
    let parts = entries(table).map(|entry| entry.expect("a directory of the server can be read").path());
    parts.filter(|path| path.join("checksums.txt").exists()).map(|path| entries(&path).count() as u64).sum()
}
