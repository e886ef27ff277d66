//! Times `chsnap create` onto another filesystem and other tools that copy, and counts the bytes that they write.
//!
//! ```text
//! tests/support/engines/install
//! cargo bench --bench elsewhere -- [--parts 1000] [--nights 5] [--gigabytes 4] [--earlier PROGRAM]
//!     [--output docs/benchmark-results.md]
//! ```
//!
//! Root is needed: the other filesystems are an ext4 and an xfs in files, mounted for this program alone. Tools that are
//! not installed are left out, and named. Everything is below the temporary folder, so `TMPDIR` says which disk is
//! measured. With `--onto DIR` only the series of nights is measured, onto that folder: `benches/nfs` does this on NFS.
//! Nothing here fails for being slow.

#![expect(clippy::cast_precision_loss, reason = "a few significant digits are shown")]
#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use serde_json::Value;

use testkit::bench::copies::{Copier, allocated_bytes, shell};
use testkit::bench::program::CommonArgs;
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{copies, machine, measure, program, threads};
use testkit::chsnap_command::Chsnap;
use testkit::engine::{Engine, Kind};
use testkit::nfs_calls::{Calls, calls, difference};
use testkit::small_disk::SmallDisk;

#[derive(Debug, Parser)]
#[command(about = "Times chsnap create onto another filesystem, rsync, cp, restic and borg")]
struct Args {
    /// Parts of the table of small files, 40 in each
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(50..))]
    parts: u32,
    /// Nights of the series, with one part of fifty new in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    nights: u32,
    /// Size of the table of large files, in 200 parts
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    gigabytes: u64,
    /// Measured runs of the first copy
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only the series of nights, onto this existing folder of another filesystem
    #[arg(long, value_name = "DIR")]
    onto: Option<PathBuf>,
    /// Measure this program as well, such as one of an earlier version, with a repository of its own
    #[arg(long, value_name = "PROGRAM")]
    earlier: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Columns of the table of large files: a mutation of one rewrites an eighth.
const COLUMNS: u64 = 8;
const LARGE_PARTS: u64 = 200;
const CHANGED_SHARE: u32 = 50;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let mut text = format!("{}.\n", machine::describe(&std::env::temp_dir()));
    let missing = copies::missing();
    if !missing.is_empty() {
        writeln!(text, "\nNot installed, and left out: {}.", missing.join(", ")).expect("a String takes everything");
    }
    if let Some(onto) = &args.onto {
        let bench = Bench { engine: Engine::start(Kind::V26), disk: Disk::Folder(onto.clone()), args: &args };
        bench.series(&machine::filesystem(onto), &mut text).expect("a String takes everything");
        program::finish(&text, &args.common, "elsewhere");
        return;
    }
    for tool in ["mkfs.ext4", "mkfs.xfs"] {
        let engine = Engine::start(Kind::V26);
        let disk = SmallDisk::sized(tool, (args.gigabytes * 4 + 6) << 10);
        let name = tool.strip_prefix("mkfs.").unwrap_or(tool);
        println!("{name} …");
        let bench = Bench { engine, disk: Disk::Made(disk), args: &args };
        bench.series(name, &mut text).and_then(|()| bench.large(name, &mut text)).expect("a String takes everything");
    }
    program::finish(&text, &args.common, "elsewhere");
}

/// An engine, and the other filesystem.
struct Bench<'a> {
    engine: Engine,
    disk: Disk,
    args: &'a Args,
}

/// The other filesystem.
enum Disk {
    /// In a file, mounted for this program.
    Made(SmallDisk),
    /// A folder of one that is mounted already.
    Folder(PathBuf),
}

impl Disk {
    fn path(&self) -> &Path {
        match self {
            Self::Made(disk) => disk.path(),
            Self::Folder(folder) => folder,
        }
    }

    /// Bytes in use, once everything is written.
    fn taken_bytes(&self) -> u64 {
        match self {
            Self::Made(disk) => disk.taken_bytes(),
            Self::Folder(folder) => {
                shell(r#"sync --file-system "$0""#, &[folder]);
                let space = nix::sys::statvfs::statvfs(folder).expect("its space");
                (space.blocks() - space.blocks_free()) * space.fragment_size()
            }
        }
    }

    /// Threads of the bare loop that are fast there: behind a network most of them wait.
    fn threads(&self) -> usize {
        if self.calls().is_some() { 24 } else { threads::cores() }
    }

    /// The calls that were sent to its server so far, if it has one.
    fn calls(&self) -> Option<Calls> {
        calls(self.path())
    }

    /// Those since then.
    fn calls_since(&self, before: Option<Calls>) -> Option<Calls> {
        Some(difference(self.calls()?, &before?))
    }
}

/// What a line of a table shows, and what it takes from a run of type `T`.
type Row<T> = (&'static str, fn(&T) -> f64);

/// A night of the series, once by each.
struct Night {
    chsnap_seconds: f64,
    /// The same of another program.
    earlier_seconds: Option<f64>,
    /// Of two more snapshots, behind which nothing has changed: with `--compare files`, and without it.
    compared_seconds: f64,
    quiet_seconds: f64,
    chsnap_bytes: u64,
    /// Of that, directories of parts.
    directory_bytes: u64,
    rsync_seconds: f64,
    by_hand_seconds: f64,
    rsync_bytes: u64,
    rsnapshot_seconds: Option<f64>,
    /// Linking what the night before has, by bare system calls.
    bare_seconds: f64,
    new_bytes: u64,
    /// Seconds of each stage of `create`.
    stages: BTreeMap<String, f64>,
    /// Calls to the server of the other filesystem, where it has one: of the snapshot behind which nothing is new, and of
    /// rsync.
    quiet_calls: Option<Calls>,
    rsync_calls: Option<Calls>,
}

impl Bench<'_> {
    fn chsnap(&self, name: &str) -> Chsnap {
        self.repository(name, &testkit::program())
    }

    /// A repository on the other filesystem, and a program for it; what the program keeps about it on its host is on the
    /// tables' own disk, as it is on a real host.
    fn repository(&self, name: &str, program: &Path) -> Chsnap {
        let state = self.engine.root().join("state").display().to_string();
        let chsnap = Chsnap::new(&self.disk.path().join(name)).url(&self.engine.url()).program(program);
        let chsnap = chsnap.env("XDG_STATE_HOME", &state);
        chsnap.expect(0, &["init"]);
        chsnap
    }

    /// Another program to measure, with a repository of its own.
    fn earlier(&self) -> Option<Chsnap> {
        Some(self.repository("earlier", self.args.earlier.as_deref()?))
    }

    /// A snapshot of one table: seconds of the whole process, a `syncfs` in it, and its answer.
    fn create(chsnap: &Chsnap, table: &str) -> (f64, Value) {
        Self::create_with(chsnap, table, &[])
    }

    fn create_with(chsnap: &Chsnap, table: &str, arguments: &[&str]) -> (f64, Value) {
        let all = [&["--json", "--progress", "none", "create", "--table", table], arguments].concat();
        let command = chsnap.command(&all);
        let run = measure::command(&command);
        assert_eq!(run.code, 0, "create: {}{}", run.stdout, run.stderr);
        (run.seconds, serde_json::from_str(&run.stdout).expect("a document"))
    }

    /// Freezes a table; its shadow, whose parts lie two directories below.
    fn freeze(&self, table: &str, name: &str) -> PathBuf {
        self.engine.query(&format!("ALTER TABLE {table} FREEZE WITH NAME '{name}'"));
        self.engine.data_path().join("shadow").join(name)
    }

    fn copier(&self) -> Copier<'_> {
        Copier { disk: self.disk.path() }
    }

    fn series(&self, filesystem: &str, text: &mut String) -> std::fmt::Result {
        let parts = self.args.parts;
        self.make_small(parts);
        let chsnap = self.chsnap("nights");
        let (first_seconds, first) = Self::create(&chsnap, "bench.small");
        let earlier = self.earlier();
        if let Some(earlier) = &earlier {
            Self::create(earlier, "bench.small");
        }
        let copier = self.copier();
        let shadow = self.freeze("bench.small", "night_0");
        let rsync_first = copier.rsync(&shadow, "night_0", None);
        copier.rsnapshot(&shadow);
        shell("rm -rf \"$0\"", &[&shadow]);
        let nights: Vec<Night> =
            (1..=self.args.nights).map(|number| self.night(&chsnap, earlier.as_ref(), number)).collect();
        let spread = |of: fn(&Night) -> f64| Spread::of(nights.iter().map(of));
        writeln!(text, "\n### {filesystem}: a series of nights\n")?;
        writeln!(
            text,
            "{} parts of {} small files in all, {} new parts a night. Nights: {}. The first snapshot: chsnap {first_seconds:.2} s, \
             rsync {rsync_first:.2} s.\n",
            thousands(parts.into()),
            thousands(first["files"].as_u64().unwrap_or(0)),
            parts / CHANGED_SHARE,
            nights.len()
        )?;
        writeln!(
            text,
            "| What | Median s | Least to most | To the first line, night by night |\n|---|---:|---:|---:|"
        )?;
        let mut rows: Vec<Row<Night>> = vec![
            ("`chsnap create`, its freeze included", |night| night.chsnap_seconds),
            ("the same with `--compare files`, after which nothing is new", |night| night.compared_seconds),
            ("the same without it, after which nothing is new", |night| night.quiet_seconds),
            ("`rsync -aH --numeric-ids --link-dest`, of what is frozen already", |night| night.rsync_seconds),
            ("by hand: `FREEZE`, that `rsync`, `rm -rf` of the shadow", |night| night.by_hand_seconds),
            ("bare `linkat` of all that is not new, names known before", |night| night.bare_seconds),
        ];
        if nights.iter().all(|night| night.rsnapshot_seconds.is_some()) {
            let what = "`rsnapshot` with `link_dest`, of what is frozen already";
            rows.insert(2, (what, |night| night.rsnapshot_seconds.unwrap_or(0.0)));
        }
        if earlier.is_some() {
            let what = "`create` of the earlier program, its freeze included";
            rows.insert(1, (what, |night| night.earlier_seconds.unwrap_or(0.0)));
        }
        for (what, seconds) in rows {
            let (own, ratio) =
                (spread(seconds), Spread::of(nights.iter().map(|night| seconds(night) / night.chsnap_seconds)));
            writeln!(
                text,
                "| {what} | {:.2} | {:.2} to {:.2} | {:.1} ({:.1} to {:.1}) |",
                own.median, own.least, own.most, ratio.median, ratio.least, ratio.most
            )?;
        }
        let sum = |of: fn(&Night) -> u64| nights.iter().map(of).sum::<u64>();
        let (new, chsnap, rsync) =
            (sum(|night| night.new_bytes), sum(|night| night.chsnap_bytes), sum(|night| night.rsync_bytes));
        let directories = sum(|night| night.directory_bytes);
        let percent = |bytes: u64| 100.0 * bytes as f64 / new as f64;
        let ratio = Spread::of(nights.iter().map(|night| night.rsync_seconds / night.chsnap_seconds)).median;
        writeln!(text, "\n- `rsync` alone takes {ratio:.1} times as long; 8 is {}.", is_met(ratio >= 8.0))?;
        let files = percent(chsnap.saturating_sub(directories));
        writeln!(
            text,
            "- New files take {} KB on the tables' own disk. chsnap added {} KB to this one, of which {} KB are a directory for each \
             part of each snapshot, which no tool can share: without those {files:.1} % of the new files; 2 % more is {}. rsync added \
             {} KB.",
            thousands(new / 1000),
            thousands(chsnap / 1000),
            thousands(directories / 1000),
            is_met(files <= 102.0),
            thousands(rsync / 1000),
        )?;
        let names = nights.first().map(|night| night.stages.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let median = |name: &String| Spread::of(nights.iter().map(|night| night.stages[name])).median;
        let stages: Vec<String> = names.iter().map(|name| format!("{name} {:.2}", median(name))).collect();
        writeln!(text, "- Median seconds in each stage of `create`: {}.", stages.join(", "))?;
        let share = spread(|night| night.stages["index"] / night.chsnap_seconds).most;
        writeln!(
            text,
            "- Index and cache of sources: at most {:.1} % of `create`; 5 % is {}.",
            100.0 * share,
            is_met(share <= 0.05)
        )?;
        let last = nights.last().and_then(|night| night.quiet_calls.as_ref().zip(night.rsync_calls.as_ref()));
        let Some((quiet, rsync)) = last else { return Ok(()) };
        writeln!(
            text,
            "- Calls to the server, as its client counts them: of `create` behind which nothing is new {}; of rsync {}.",
            listed(quiet),
            listed(rsync)
        )
    }

    /// The same changes for both, who take turns in being the first.
    fn night(&self, chsnap: &Chsnap, earlier: Option<&Chsnap>, number: u32) -> Night {
        let changed = self.args.parts / CHANGED_SHARE;
        let first = (number - 1) * changed;
        let before = self.parts_of("small");
        self.insert_small(first, changed, 1 + number);
        nix::unistd::sync();
        let new: Vec<PathBuf> = self.parts_of("small").into_iter().filter(|part| !before.contains(part)).collect();
        let new_bytes = new.iter().map(|part| allocated_bytes(part) - copies::directory_bytes(part)).sum();
        let copier = self.copier();
        let by_chsnap = || {
            let taken = self.disk.taken_bytes();
            let (seconds, answer) = Self::create(chsnap, "bench.small");
            (seconds, self.disk.taken_bytes() - taken, stages(&answer))
        };
        let by_rsync = || {
            let taken = self.disk.taken_bytes();
            let name = format!("night_{number}");
            let begun = Instant::now();
            let shadow = self.freeze("bench.small", &name);
            let before = self.disk.calls();
            let seconds = copier.rsync(&shadow, &name, Some(&format!("night_{}", number - 1)));
            let calls = self.disk.calls_since(before);
            shell("rm -rf \"$0\"", &[&shadow]);
            (seconds, begun.elapsed().as_secs_f64(), self.disk.taken_bytes() - taken, calls)
        };
        let ((chsnap_seconds, chsnap_bytes, stages), (rsync_seconds, by_hand_seconds, rsync_bytes, rsync_calls)) =
            if number.is_multiple_of(2) {
                let rsync = by_rsync();
                (by_chsnap(), rsync)
            } else {
                (by_chsnap(), by_rsync())
            };
        let earlier_seconds = earlier.map(|earlier| {
            self.disk.taken_bytes();
            Self::create(earlier, "bench.small").0
        });
        // Nothing is new any more: the same night with each of the two comparisons, by turns.
        let again = |compare: &str| {
            let before = self.disk.calls();
            let seconds = Self::create_with(chsnap, "bench.small", &["--compare", compare]).0;
            (seconds, self.disk.calls_since(before))
        };
        let ((compared_seconds, _), (quiet_seconds, quiet_calls)) = if number.is_multiple_of(2) {
            let quiet = again("directories");
            (again("files"), quiet)
        } else {
            let compared = again("files");
            (compared, again("directories"))
        };
        let shadow = self.freeze("bench.small", &format!("rsnapshot_{number}"));
        let rsnapshot_seconds = copier.rsnapshot(&shadow);
        shell("rm -rf \"$0\"", &[&shadow]);
        let newest = chsnap.repo().join("latest/data/bench/small");
        // Stays until the end, as everything does: ext4 passes over inodes that were freed a moment ago.
        let bare = self.disk.path().join(format!("bare_{number}"));
        let bare_seconds = copies::bare_links(&newest, &bare, self.disk.threads());
        let night = Night {
            chsnap_seconds,
            earlier_seconds,
            compared_seconds,
            quiet_seconds,
            chsnap_bytes,
            directory_bytes: copies::directory_bytes(&newest),
            rsync_seconds,
            by_hand_seconds,
            rsync_bytes,
            rsnapshot_seconds,
            bare_seconds,
            new_bytes,
            stages,
            quiet_calls,
            rsync_calls,
        };
        println!("  night {number}: chsnap {chsnap_seconds:.2} s, rsync {rsync_seconds:.2} s");
        night
    }

    fn large(&self, filesystem: &str, text: &mut String) -> std::fmt::Result {
        self.make_large();
        let copier = self.copier();
        let shadow = self.freeze("bench.large", "large");
        let bytes: u64 = self.parts_of("large").iter().map(|part| allocated_bytes(part)).sum();
        let mut rounds: Vec<(f64, f64, f64)> = Vec::new();
        for round in 0..self.args.rounds {
            let repository = format!("large_{round}");
            let chsnap = || Self::create(&self.chsnap(&repository), "bench.large").0;
            let cp = || copier.cp(&shadow, "cp");
            let write = || copier.write("written", bytes);
            // Everybody is the first once.
            let (by_chsnap, by_cp, by_write) = match round % 3 {
                0 => (timed(chsnap), timed(cp), timed(write)),
                1 => {
                    let (cp, write) = (timed(cp), timed(write));
                    (timed(chsnap), cp, write)
                }
                _ => {
                    let write = timed(write);
                    let chsnap = timed(chsnap);
                    (chsnap, timed(cp), write)
                }
            };
            println!("  first copy: chsnap {by_chsnap:.2} s, cp {by_cp:.2} s, writing alone {by_write:.2} s");
            rounds.push((by_chsnap, by_cp, by_write));
            shell("rm -rf \"$0\" \"$1\"", &[&self.disk.path().join("cp"), &self.disk.path().join("written")]);
            if round + 1 < self.args.rounds {
                shell("rm -rf \"$0\"", &[&self.disk.path().join(&repository)]);
            }
            self.disk.taken_bytes();
        }
        let best = |round: &(f64, f64, f64)| round.1.min(round.2) / round.0;
        writeln!(text, "\n### {filesystem}: the first copy of large parts\n")?;
        writeln!(
            text,
            "{:.1} GB in {LARGE_PARTS} parts of {COLUMNS} columns. Rounds: {}.\n",
            bytes as f64 / 1e9,
            rounds.len()
        )?;
        writeln!(text, "| What | Median s | Least to most | GB/s |\n|---|---:|---:|---:|")?;
        let rows: [Row<(f64, f64, f64)>; 3] = [
            ("`chsnap create`, its freeze included, every byte against its checksum", |round| round.0),
            ("`cp -a` of what is frozen already", |round| round.1),
            ("writing as many bytes into one file", |round| round.2),
        ];
        for (what, seconds) in rows {
            let own = Spread::of(rounds.iter().map(seconds));
            let rate = bytes as f64 / 1e9 / own.median;
            writeln!(text, "| {what} | {:.2} | {:.2} to {:.2} | {rate:.2} |", own.median, own.least, own.most)?;
        }
        for (what, seconds) in copier.archives(&shadow) {
            writeln!(
                text,
                "| {what}, of what is frozen already, once | {seconds:.2} | | {:.2} |",
                bytes as f64 / 1e9 / seconds
            )?;
        }
        let ratio = Spread::of(rounds.iter().map(best)).median;
        writeln!(
            text,
            "\n- `create` has {ratio:.2} of the rate of the faster of the other two; 0.95 is {}.",
            is_met(ratio >= 0.95)
        )?;
        self.mutation(filesystem, &shadow, text)
    }

    /// One column of every part is rewritten.
    fn mutation(&self, filesystem: &str, before: &Path, text: &mut String) -> std::fmt::Result {
        let copier = self.copier();
        copier.rsync(before, "large_before", None);
        self.engine.query("ALTER TABLE bench.large UPDATE c1 = c1 + 1 WHERE 1 SETTINGS mutations_sync = 2");
        let column: u64 = self.parts_of("large").iter().map(|part| copies::column_bytes(part, "c1")).sum();
        let chsnap =
            Chsnap::new(&self.disk.path().join(format!("large_{}", self.args.rounds - 1))).url(&self.engine.url());
        let (seconds, answer) = Self::create(&chsnap, "bench.large");
        let placed = answer["placed"]["copied"]["bytes"].as_u64().unwrap_or(0);
        let shadow = self.freeze("bench.large", "large_after");
        let taken = self.disk.taken_bytes();
        let rsync_seconds = copier.rsync(&shadow, "large_after", Some("large_before"));
        let by_rsync = self.disk.taken_bytes() - taken;
        let ratio = placed as f64 / column as f64;
        writeln!(text, "\n### {filesystem}: one column of all parts mutated\n")?;
        writeln!(
            text,
            "The column has {:.0} MB. `create` copied {:.0} MB in {seconds:.2} s, {ratio:.3} times as much; 1.1 is {}. rsync wrote \
             {:.0} MB in {rsync_seconds:.2} s: it knows files by their paths, and every part has a new name.",
            column as f64 / 1e6,
            placed as f64 / 1e6,
            is_met(ratio <= 1.1),
            by_rsync as f64 / 1e6
        )
    }

    /// Directories of the active parts of a table.
    fn parts_of(&self, table: &str) -> Vec<PathBuf> {
        let sql = format!("SELECT path FROM system.parts WHERE active AND database = 'bench' AND table = '{table}'");
        self.engine.query(&sql).lines().map(PathBuf::from).collect()
    }

    fn make_small(&self, parts: u32) {
        let columns: Vec<String> = (1..15).map(|number| format!("c{number} UInt64")).collect();
        self.engine.query("CREATE DATABASE bench");
        self.engine.query(&format!(
            "CREATE TABLE bench.small (p UInt32, {}) ENGINE = MergeTree PARTITION BY p ORDER BY c1 \
             SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0",
            columns.join(", ")
        ));
        self.engine.query("SYSTEM STOP MERGES bench.small");
        for first in (0..parts).step_by(100) {
            self.insert_small(first, 100.min(parts - first), 1);
        }
    }

    /// A part of 100 rows in each of `count` partitions, other ones with each seed.
    fn insert_small(&self, first: u32, count: u32, seed: u32) {
        let values: Vec<String> = (1..15).map(|number| format!("number * {number} + {seed}")).collect();
        self.engine.query(&format!(
            "INSERT INTO bench.small SELECT toUInt32({first} + number % {count}), {} FROM numbers({})",
            values.join(", "),
            count * 100
        ));
    }

    fn make_large(&self) {
        let columns: Vec<String> = (1..=COLUMNS).map(|number| format!("c{number} UInt64")).collect();
        let values: Vec<String> = (1..=COLUMNS).map(|number| format!("rand64({number})")).collect();
        self.engine.query(&format!(
            "CREATE TABLE bench.large (p UInt32, {}) ENGINE = MergeTree PARTITION BY p ORDER BY tuple() \
             SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0",
            columns.join(", ")
        ));
        self.engine.query("SYSTEM STOP MERGES bench.large");
        let rows = (self.args.gigabytes << 30) / 8 / COLUMNS / LARGE_PARTS;
        for part in 0..LARGE_PARTS {
            let values = values.join(", ");
            self.engine.query(&format!("INSERT INTO bench.large SELECT {part}, {values} FROM numbers({rows})"));
        }
        self.engine.query("SYSTEM START MERGES bench.large");
    }
}

/// Seconds of something before which nothing is left to be written, of the tables' own disk neither: a server syncs
/// nothing, and the first one would wait for its own writes.
fn timed(mut body: impl FnMut() -> f64) -> f64 {
    nix::unistd::sync();
    body()
}

fn stages(answer: &Value) -> BTreeMap<String, f64> {
    let seconds = answer["seconds"].as_object().expect("create tells its seconds");
    seconds.iter().map(|(stage, seconds)| (stage.clone(), seconds.as_f64().unwrap_or(0.0))).collect()
}

/// The sum of these calls, and the most frequent ones.
fn listed(calls: &Calls) -> String {
    let count = |number: i64| thousands(number.unsigned_abs());
    let mut often: Vec<(&String, i64)> = calls.iter().map(|(name, number)| (name, *number)).collect();
    often.sort_by_key(|(_, number)| -number);
    let often: Vec<String> = often.iter().take(6).map(|(name, number)| format!("{name} {}", count(*number))).collect();
    format!("{} ({})", count(calls.values().sum()), often.join(", "))
}

fn is_met(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}
