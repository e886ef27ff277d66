//! Times `chsnap restore` by links and by copies, bare system calls, `cp -a`, and the server's own ATTACH.
//!
//! ```text
//! tests/support/engines/install
//! cargo bench --bench restore -- [--parts 2000] [--rounds 3] [--engine 18|26|both] [--output docs/benchmark-results.md]
//! ```
//!
//! Root is needed: the other filesystem is an ext4 in a file, mounted for this program alone. Everything is below the
//! temporary folder, so `TMPDIR` says which disk is measured. Nothing here fails for being slow.

#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use serde_json::Value;

use testkit::bench::copies::{bare_links, shell};
use testkit::bench::program::{CommonArgs, Engines};
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{machine, measure, program, threads};
use testkit::chsnap_command::Chsnap;
use testkit::engine::{Engine, Kind};
use testkit::small_disk::SmallDisk;

#[derive(Debug, Parser)]
#[command(about = "Times chsnap restore against cp, bare links and ATTACH")]
struct Args {
    /// Parts of the table
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    parts: u32,
    /// Measured rounds, after one that is not measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Which ClickHouse
    #[arg(long, default_value = "both")]
    engine: Engines,
    #[command(flatten)]
    common: CommonArgs,
}

/// Partitions of one INSERT: the server's default limit.
const PARTITIONS_AT_ONCE: u32 = 100;
const ROWS_PER_PART: u32 = 100;
/// Larger than what 2,000 parts take, and sparse.
const OTHER_DISK_MIB: u64 = 8 << 10;

/// A timed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timed {
    BareLinks,
    Linked,
    CopiedByCp,
    Copied,
    CopiedByCpFromElsewhere,
    FromElsewhere,
    Attach,
}

impl Timed {
    const ALL: [Self; 7] = [
        Self::BareLinks,
        Self::Linked,
        Self::CopiedByCp,
        Self::Copied,
        Self::CopiedByCpFromElsewhere,
        Self::FromElsewhere,
        Self::Attach,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::BareLinks => "bare `linkat` of names known before, then `syncfs`",
            Self::Linked => "`chsnap restore --place link`, the whole process",
            Self::CopiedByCp => "`cp -a` of the same parts on one filesystem, then `syncfs`",
            Self::Copied => "`chsnap restore --place copy`, the whole process",
            Self::CopiedByCpFromElsewhere => "`cp -a` from another filesystem, then `syncfs`",
            Self::FromElsewhere => "`chsnap restore` from another filesystem, the whole process",
            Self::Attach => "`ATTACH TABLE` of as many parts that are in place, by the server alone",
        }
    }

    /// The measurement that its ratio refers to.
    fn baseline(self) -> Option<Self> {
        match self {
            Self::Linked => Some(Self::BareLinks),
            Self::Copied => Some(Self::CopiedByCp),
            Self::FromElsewhere => Some(Self::CopiedByCpFromElsewhere),
            _ => None,
        }
    }
}

/// Seconds of a restore, by stage.
type Stages = BTreeMap<String, f64>;

#[derive(Debug, Default)]
struct Round {
    seconds: BTreeMap<Timed, f64>,
    stages: BTreeMap<Timed, Stages>,
}

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let kinds = args.engine.kinds();
    let mut text = format!("{}.\n", machine::describe(&std::env::temp_dir()));
    for kind in kinds {
        let bench = Bench::prepare(kind, args.parts);
        bench.round(0);
        let rounds: Vec<Round> = (1..=args.rounds).map(|number| bench.round(number)).collect();
        bench.report(&rounds, &mut text).expect("a String takes everything");
    }
    program::finish(&text, &args.common, "restore");
}

/// One table on one engine, with a snapshot next to its data and one on another filesystem.
struct Bench {
    engine: Engine,
    near: Chsnap,
    far: Chsnap,
    disk: SmallDisk,
    version: String,
    parts: u64,
    files: u64,
}

impl Bench {
    fn prepare(kind: Kind, parts: u32) -> Self {
        let disk = SmallDisk::sized("mkfs.ext4", OTHER_DISK_MIB);
        let engine = Engine::start(kind);
        let version = engine.query("SELECT version()");
        println!("ClickHouse {version}: making {parts} parts …");
        make_table(&engine, parts);
        let near = Chsnap::new(&engine.root().join("repo")).url(&engine.url());
        let far = Chsnap::new(&disk.path().join("repo")).url(&engine.url());
        for chsnap in [&near, &far] {
            chsnap.expect(0, &["init"]);
            chsnap.expect(0, &["create"]);
        }
        let stored = near.repo().join("latest/data/bench/parts");
        let directories = entries(&stored).filter(|path| path.is_dir());
        let (count, files) =
            directories.fold((0, 0), |(count, files), part| (count + 1, files + entries(&part).count()));
        Self { engine, near, far, disk, version, parts: count, files: files as u64 }
    }

    fn round(&self, number: u32) -> Round {
        let mut round = Round::default();
        let pairs = [
            (Timed::BareLinks, Timed::Linked),
            (Timed::CopiedByCp, Timed::Copied),
            (Timed::CopiedByCpFromElsewhere, Timed::FromElsewhere),
        ];
        for (baseline, restored) in pairs {
            // Each is the first of its pair in turn.
            let order = if number.is_multiple_of(2) { [baseline, restored] } else { [restored, baseline] };
            for what in order {
                nix::unistd::sync();
                self.time(what, number, &mut round);
            }
        }
        nix::unistd::sync();
        self.time(Timed::Attach, number, &mut round);
        println!("  round {number}: {:?}", round.seconds);
        round
    }

    fn time(&self, what: Timed, number: u32, round: &mut Round) {
        let near = self.near.repo().join("latest/data/bench/parts");
        let far = self.far.repo().join("latest/data/bench/parts");
        let target = self.engine.root().join(format!("{what:?}_{number}"));
        let seconds = match what {
            Timed::BareLinks => bare_links(&near, &target, threads::cores()),
            Timed::CopiedByCp => cp(&near, &target),
            Timed::CopiedByCpFromElsewhere => cp(&far, &target),
            Timed::Linked => self.restore(&self.near, "link", (what, number), round),
            Timed::Copied => self.restore(&self.near, "copy", (what, number), round),
            Timed::FromElsewhere => self.restore(&self.far, "auto", (what, number), round),
            Timed::Attach => {
                self.engine.query(&format!("DETACH TABLE bench.Linked_{number}"));
                let begun = Instant::now();
                self.engine.query(&format!("ATTACH TABLE bench.Linked_{number}"));
                begun.elapsed().as_secs_f64()
            }
        };
        round.seconds.insert(what, seconds);
    }

    fn restore(&self, chsnap: &Chsnap, place: &str, (what, number): (Timed, u32), round: &mut Round) -> f64 {
        let rename = format!("bench.parts=bench.{what:?}_{number}");
        let arguments =
            ["--json", "--progress", "none", "restore", "latest", "--rename", &rename, "--place", place, "--yes"];
        let measured = measure::command(&chsnap.command(&arguments));
        let answer: Value = serde_json::from_str(&measured.stdout)
            .unwrap_or_else(|error| panic!("restore answered {}: {error}\n{}", measured.code, measured.stderr));
        assert_eq!(measured.code, 0, "restore: {answer}");
        assert_eq!(answer["totals"]["parts"], self.parts, "restore brought all parts back");
        let stages = answer["seconds"].as_object().expect("restore tells its seconds");
        let stages = stages.iter().map(|(stage, seconds)| (stage.clone(), seconds.as_f64().unwrap_or(0.0)));
        round.stages.insert(what, stages.collect());
        measured.seconds
    }

    fn report(&self, rounds: &[Round], text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n### ClickHouse {}: a table of parts that comes back\n", self.version)?;
        writeln!(
            text,
            "{} parts, {} files. The other filesystem: ext4. Rounds: {}.\n",
            thousands(self.parts),
            thousands(self.files),
            rounds.len()
        )?;
        writeln!(text, "| What | Median s | Least to most | To the line before, pair by pair |\n|---|---:|---:|---:|")?;
        for what in Timed::ALL {
            let own = Spread::of(rounds.iter().filter_map(|round| round.seconds.get(&what).copied()));
            let ratio = what.baseline().map_or(String::new(), |baseline| {
                let ratios =
                    rounds.iter().filter_map(|round| Some(round.seconds.get(&what)? / round.seconds.get(&baseline)?));
                let ratio = Spread::of(ratios);
                format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
            });
            writeln!(text, "| {} | {:.2} | {:.2} to {:.2} | {ratio} |", what.text(), own.median, own.least, own.most)?;
        }
        for what in [Timed::Linked, Timed::FromElsewhere] {
            let stages: Vec<String> = (rounds.last().and_then(|round| round.stages.get(&what)).into_iter().flatten())
                .map(|(stage, seconds)| format!("{stage} {seconds:.2}"))
                .collect();
            writeln!(text, "\n{}, seconds by stage in the last round: {}.", what.text(), stages.join(", "))?;
        }
        // The two disks have different devices.
        assert_ne!(device(self.disk.path()), device(self.engine.root()), "the other filesystem is another one");
        Ok(())
    }
}

fn device(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).expect("a directory").dev()
}

/// Seconds of `cp -a`, and of a `syncfs` where it copies to.
fn cp(from: &Path, to: &Path) -> f64 {
    let begun = Instant::now();
    shell(r#"cp -a "$0/" "$1" && sync --file-system "$1""#, &[from, to]);
    begun.elapsed().as_secs_f64()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory of the snapshot can be read");
    entries.map(|entry| entry.expect("an entry").path())
}

/// A table with one part in each partition and about 40 files in each part.
fn make_table(engine: &Engine, parts: u32) {
    let (columns, settings) = match engine.kind() {
        Kind::V18 => (17, ""),
        Kind::V26 => (15, " SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"),
    };
    let names: Vec<String> = (1..columns).map(|number| format!("c{number} UInt64")).collect();
    let values: Vec<String> = (1..columns).map(|number| format!("number * {number} + 1")).collect();
    engine.query("CREATE DATABASE bench");
    engine.query(&format!(
        "CREATE TABLE bench.parts (p UInt32, {}) ENGINE = MergeTree PARTITION BY p ORDER BY c1{settings}",
        names.join(", ")
    ));
    engine.query("SYSTEM STOP MERGES bench.parts");
    for first in (0..parts).step_by(PARTITIONS_AT_ONCE as usize) {
        let count = PARTITIONS_AT_ONCE.min(parts - first);
        engine.query(&format!(
            "INSERT INTO bench.parts SELECT toUInt32({first} + number % {count}), {} FROM numbers({})",
            values.join(", "),
            count * ROWS_PER_PART
        ));
    }
}
