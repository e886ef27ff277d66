use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::exec::{self, PlaceMode};
use chsnap::model::{DumpKind, Label, Moment, PartitionId, UnlistedTable};
use chsnap::ops::OpError;
use chsnap::ops::create::{
    self, CompareMode, CreateDryRun, FreezeMode, IdsMode, Replicas, Report, Request, RequestedPin, TableTime,
};
use chsnap::plan::{
    CreatePlan, DumpOptions, FreezeScope, SeriesKey, TableDump, TableFreeze, TablePattern, TableSelection,
};
use chsnap::repo::Repository;
use clap::ValueEnum;

use super::documents::{CreateDocument, PlannedDump, PlannedTable};
use super::given_text::{check_name, check_reason};
use super::globals::{Globals, duration, size};
use super::layout::{ENGINE, TextTable, left, name, right};
use super::opening;
use super::output::Output;
use super::render;
use super::{CommandFailure, CommandResult, DONE, WARNED, pin, signals};

/// Take a snapshot: freeze, place, check, seal
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Args {
    /// Tables to take, as 'database.glob' [default: all MergeTree tables but the server's own]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Tables to leave out
    #[arg(long, value_name = "DB.GLOB")]
    exclude: Vec<TablePattern>,
    /// Partitions to take, by partition_id as in system.parts
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    partition: Vec<String>,
    /// Tables whose data cannot be taken (KeeperMap, Buffer …) and that need no warning
    #[arg(long, value_name = "DB.GLOB")]
    accept: Vec<TablePattern>,
    /// Folders of server configuration to keep, secrets and all, for 'restore --to' [default: none]
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    configs: Vec<PathBuf>,
    /// Largest dump of a table that has no FREEZE (Log, EmbeddedRocksDB …), before compression; 0 dumps none
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = dump_limit)]
    dump_limit: u64,
    /// Dump tables of the engine Memory too
    #[arg(long)]
    dump_memory: bool,
    /// Name of the snapshot, accepted wherever an id is; it must not look like an id or like latest
    #[arg(long, value_name = "LABEL")]
    name: Option<OsString>,
    /// Pin the snapshot, with this reason if one is given
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "")]
    pin: Option<String>,
    /// End of the pin: its last day (2026-12-31, by UTC), a time, or a duration (30d) [default: until unpin]
    #[arg(long, value_name = "DATE", value_parser = pin::end)]
    until: Option<DateTime<Utc>>,
    /// Record a digest of the values of each part, for drill to compare; reads all new data
    #[arg(long)]
    digest: bool,
    /// What is frozen
    #[arg(long, value_name = "WHAT", default_value = "changed")]
    freeze: Freeze,
    /// How parts are compared with the last snapshot
    #[arg(long, value_name = "HOW", default_value = "directories")]
    compare: CompareArgument,
    /// Take all tables as of one moment, and report how exact that is
    #[arg(long)]
    one_moment: bool,
    /// How parts are placed: auto renames, else links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: PlaceArgument,
    /// Tables that the server freezes at once [default: the number of cores, 4 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    freeze_jobs: Option<u16>,
    /// Threads of the server for each FREEZE [default: the server's setting]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    freeze_threads: Option<u16>,
    /// Owners, modes, times and attributes that the repository's filesystem cannot keep
    #[arg(long, value_name = "HOW", default_value = "keep")]
    ids: CreateIds,
    /// Copy without comparing the bytes with the parts' own checksums
    #[arg(long)]
    no_verify_copy: bool,
    /// Copy no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
    /// Link files of different tables by their hashes alone, without comparing their bytes
    #[arg(long)]
    trust_hash: bool,
    /// Link parts from earlier snapshots that hold them under other inodes, as after a fetch from a replica
    #[arg(long)]
    dedup_relink: bool,
    /// Free space to leave: do not begin with less, and stop copying at less, for example 20GiB
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    min_free: u64,
    /// Wait up to this many seconds for replicated tables to catch up with their peers before they are listed; 0 does
    /// not wait
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u32).range(..=86400))]
    sync_replica: u32,
    /// Warn of a replicated table whose delay behind its peers is longer than this
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = duration)]
    max_delay: Duration,
    /// Wait up to this many seconds for unfinished mutations of replicated tables, which a snapshot cannot contain
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = clap::value_parser!(u32).range(..=604_800))]
    wait_mutations: u32,
    /// Report what a FREEZE may be waiting for once it has run for this long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    patience: Duration,
    /// Take this server although the repository belongs to another one
    #[arg(long)]
    allow_other_server: bool,
    /// Show what would be done, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

const EXAMPLES: &str = "Examples:
  chsnap create --repo /var/lib/clickhouse/chsnap
  chsnap create --table 'posthog.*' --exclude 'posthog.*_tmp' --name before-upgrade --pin 'upgrade to 26.9'
  chsnap create --table 'posthog.events' --partition 202611 --dry-run";

/// A dump arrives as one answer, and answers of more than 1 GiB are refused.
const MOST_DUMPED_BYTES: u64 = 1000 << 20;

fn dump_limit(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    let most = humansize::format_size(MOST_DUMPED_BYTES, humansize::BINARY);
    if bytes > MOST_DUMPED_BYTES { Err(format!("a dump can have {most} at most")) } else { Ok(bytes) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Freeze {
    /// Partitions that differ from the last snapshot; the others are linked from it.
    Changed,
    /// All selected tables.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompareArgument {
    /// By the inode and times of their directories if these are known from an earlier run, else by their files.
    Directories,
    /// By their files.
    Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlaceArgument {
    /// Rename, else link, else share blocks, else copy.
    Auto,
    /// Rename only.
    Rename,
    /// Link only.
    Link,
    /// Copy everything that no earlier snapshot has.
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CreateIds {
    /// Refuse to copy to a filesystem that cannot keep them.
    Keep,
    /// Record what it cannot keep in the list of parts.
    Record,
}

impl Args {
    pub(super) fn request(self, globals: &Globals, repository: &Repository) -> Request {
        Request::new()
            .with_selection(
                TableSelection::default()
                    .with_include(self.table)
                    .with_exclude(self.exclude)
                    .with_accept(self.accept)
                    .with_partitions(self.partition.into_iter().map(|id| PartitionId(id.into())).collect())
                    .with_dumps(DumpOptions::default().with_limit_bytes(self.dump_limit).with_memory(self.dump_memory)),
            )
            .with_label(self.name.as_deref().map(Label::new).unwrap_or_default())
            .with_pin(self.pin.map(|reason| RequestedPin::new(reason).with_until(self.until)))
            .with_freeze(match self.freeze {
                Freeze::Changed => FreezeMode::Changed,
                Freeze::All => FreezeMode::All,
            })
            .with_compare(match self.compare {
                CompareArgument::Directories => CompareMode::Directories,
                CompareArgument::Files => CompareMode::Files,
            })
            .with_time(if self.one_moment { TableTime::OneMoment } else { TableTime::Each })
            .with_place(match self.place {
                PlaceArgument::Auto => PlaceMode::Auto,
                PlaceArgument::Rename => PlaceMode::Rename,
                PlaceArgument::Link => PlaceMode::Link,
                PlaceArgument::Copy => PlaceMode::Copy,
            })
            .with_ids(match self.ids {
                CreateIds::Keep => IdsMode::Keep,
                CreateIds::Record => IdsMode::Record,
            })
            .with_verifies_copies(!self.no_verify_copy)
            .with_trusts_hash(self.trust_hash)
            .with_relinks(self.dedup_relink)
            .with_copy_rate(self.bwlimit.filter(|rate| *rate > 0))
            .with_freeze_threads(self.freeze_threads)
            .with_digest(self.digest)
            .with_jobs(globals.jobs_for(repository))
            .with_freeze_jobs(self.freeze_jobs.map_or_else(exec::usual_freeze_jobs, usize::from))
            .with_min_free_bytes(self.min_free)
            .with_allow_other_server(self.allow_other_server)
            .with_configs(self.configs)
            .with_paths(globals.paths())
            .with_replicas(
                Replicas::default()
                    .with_sync(Duration::from_secs(self.sync_replica.into()))
                    .with_wait_mutations(Duration::from_secs(self.wait_mutations.into()))
                    .with_max_delay(self.max_delay),
            )
            .with_patience(self.patience)
            .with_lock_wait(globals.lock_wait)
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && is_plain { Ok(path) } else { Err("write an absolute path without ..".to_owned()) }
}

/// Checks that concern several options at once.
fn check(args: &Args) -> Result<(), CommandFailure> {
    check_name(args.name.as_deref())?;
    check_reason(args.pin.as_deref().unwrap_or_default())?;
    if args.until.is_some() && args.pin.is_none() {
        return Err(CommandFailure::usage("--until says when a pin ends, and there is none").with_hint("add --pin"));
    }
    pin::check_end(args.until, Utc::now())
}

pub(super) fn run(args: Args, globals: &Globals, output: &Output) -> CommandResult {
    check(&args)?;
    let repository = opening::open(globals)?;
    repository.check_writable_format().map_err(OpError::from)?;
    let dry_run = args.dry_run;
    let request = args.request(globals, &repository);
    let server = opening::connect(globals, signals::watch(!globals.json && !globals.quiet))?;
    if dry_run {
        let plan = create::dry_run(&repository, &server, &request, &Utc::now)?;
        return Ok(show_plan(&plan, output));
    }
    let progress = output.progress();
    let result = create::create(&repository, &server, &request, &Utc::now, &progress);
    progress.clear();
    let report = result?;
    output.warnings(&report.warnings);
    if output.is_json() {
        output.document(&document(&report, &SeriesKey::from(&request.selection)), &report.warnings);
    } else if !globals.quiet {
        output.prose(&text(&report));
    }
    Ok(if report.warnings.is_empty() { DONE } else { WARNED })
}

fn document(report: &Report, series: &SeriesKey) -> CreateDocument {
    let totals = report.totals;
    CreateDocument {
        state: "complete".to_owned(),
        dry_run: false,
        id: Some(report.id),
        time: Some(report.time),
        label: report.label.clone(),
        same_name: Some(report.same_name.clone()),
        series: Some(series.to_string()),
        moment: report.moment,
        off_moment_tables: report.moment.map(|_| report.off_moment_tables),
        tables: totals.tables,
        parts: totals.parts,
        files: Some(totals.files),
        apparent_bytes: totals.apparent_bytes,
        allocated_bytes: Some(totals.allocated_bytes),
        written_bytes: Some(totals.written_bytes),
        placed: Some(report.placed),
        dumped: Some(report.dumped),
        resumed: Some(report.resumed),
        link_limit_files: Some(report.recopied_files),
        seconds: Some(report.seconds.clone()),
        plan: None,
        copied_disks: None,
        dumps: None,
        definitions: None,
        server_version: None,
    }
}

fn text(report: &Report) -> String {
    let totals = &report.totals;
    let label = report.label.text.as_deref().map(|label| format!(" ({})", render::safe(label, 80))).unwrap_or_default();
    let placed = [
        (report.placed.renamed, "renamed"),
        (report.placed.linked, "linked"),
        (report.placed.reflinked, "reflinked"),
        (report.placed.copied, "copied"),
    ];
    let placed: Vec<String> = placed
        .iter()
        .filter(|(tally, _)| tally.parts > 0)
        .map(|(tally, how)| format!("{} {how}", render::count(tally.parts, "part")))
        .collect();
    let copied = match report.placed.copied.bytes {
        0 => "; nothing was copied".to_owned(),
        bytes => format!("; {} in {} copied", render::bytes(bytes), render::count(report.placed.copied.files, "file")),
    };
    let resumed = match report.resumed.parts {
        0 => String::new(),
        parts => format!("; {} had been copied by an interrupted run", render::count(parts, "part")),
    };
    let dumped = match report.dumped.tables {
        0 => String::new(),
        tables => format!(
            "\n  {} without parts dumped, {}, {}",
            render::count(tables, "table"),
            render::count(report.dumped.rows, "row"),
            render::bytes(report.dumped.bytes)
        ),
    };
    let moment =
        report.moment.map(|moment| format!("\n  one moment: {}", moment_text(&moment, report.off_moment_tables)));
    let moment = moment.unwrap_or_default();
    format!(
        "snapshot {}{label}\n  {}, {}, {}\n  {} to restore, {} on disk, {} of it new\n  {}{dumped}{moment}\n  {}\n",
        report.id,
        render::count(totals.tables, "table"),
        render::count(totals.parts, "part"),
        render::count(totals.files, "file"),
        render::bytes(totals.apparent_bytes),
        render::bytes(totals.allocated_bytes),
        render::bytes(totals.written_bytes),
        if placed.is_empty() { "no parts to place".to_owned() } else { placed.join(", ") + &copied + &resumed },
        stages(&report.seconds),
    )
}

/// Stages in their order; the first four are always shown.
const STAGES: [&str; 10] =
    ["freeze", "place", "check", "seal", "recover", "sync", "discover", "previous", "dump", "release"];
/// A stage that took less time is included in the rest.
const WORTH_NAMING: f64 = 0.1;

/// The total time and that of each stage: the times add up, or the text says that they overlap.
fn stages(seconds: &BTreeMap<&'static str, f64>) -> String {
    let of = |stage: &str| seconds.get(stage).copied().unwrap_or(0.0);
    let total = of("total");
    let is_named = |(place, stage): &(usize, &&str)| *place < 4 || of(stage) >= WORTH_NAMING;
    let named: Vec<&str> = STAGES.iter().enumerate().filter(is_named).map(|(_, stage)| *stage).collect();
    let mut texts: Vec<String> = named.iter().map(|stage| format!("{stage} {:.1}", of(stage))).collect();
    let sum: f64 = named.iter().map(|stage| of(stage)).sum();
    if total - sum >= WORTH_NAMING {
        texts.push(format!("the rest {:.1}", total - sum));
    }
    // Each figure is rounded separately.
    let overlap = if sum - total > 0.05 { "; stages overlap" } else { "" };
    format!("{total:.1} s: {}{overlap}", texts.join(", "))
}

/// How exactly all tables are of one moment; `off` of them are not.
pub(super) fn moment_text(moment: &Moment, off: u64) -> String {
    match off {
        0 => moment.to_string(),
        off => format!("{moment}, but for {}", render::count(off, "table")),
    }
}

/// Partitions that are named in a plan; if there are more, the number is given.
const NAMED_PARTITIONS: usize = 3;

fn frozen_text(how: &str, partitions: &[&str]) -> String {
    match partitions.len() {
        0 => how.to_owned(),
        1..=NAMED_PARTITIONS => render::safe(&format!("partition {}", partitions.join(", ")), 100),
        count => render::count(count as u64, "partition"),
    }
}

/// The number of tables and views of which only the definition is kept.
fn definitions(plan: &CreatePlan) -> usize {
    plan.definitions.len() + plan.left_behind.len()
}

fn planned_dump(dump: &TableDump) -> PlannedDump {
    let (name, key) = (dump.table.name(), &dump.table.key);
    PlannedDump {
        database: name.database.clone(),
        table: name.table.clone(),
        uuid: key.uuid.clone(),
        engine: dump.table.engine.clone(),
        kind: dump.kind,
    }
}

/// The size of a dump is known only after it was read.
fn dump_row(dump: &TableDump) -> Vec<String> {
    let how = match dump.kind {
        DumpKind::Native => ("dump", ""),
        DumpKind::Files => ("", "its files"),
    };
    let name = render::safe(&dump.table.name().to_string(), 400);
    let mut row = vec![name, render::safe(&dump.table.engine, 40), String::new(), String::new(), String::new()];
    row.extend([how.0.to_owned(), how.1.to_owned()]);
    row
}

/// The disks from which parts would be copied.
fn copied_disks(plan: &CreatePlan) -> Vec<String> {
    let has_parts = |disk: &&String| plan.freeze.iter().any(|freeze| freeze.parts().any(|part| part.disk == **disk));
    plan.copied_disks.iter().filter(has_parts).cloned().collect()
}

fn show_plan(dry_run: &CreateDryRun, output: &Output) -> u8 {
    let plan = &dry_run.plan;
    let (mut rows, mut list) = (Vec::new(), Vec::new());
    let (mut parts, mut bytes, mut frozen_tables) = (0, 0, 0_u64);
    // The parts of a table that the server does not list are linked from its directory.
    let linked_live = |unlisted: &UnlistedTable| TableFreeze::linked(unlisted.table.clone());
    let readable = plan.unlisted.iter().filter(|unlisted| unlisted.trouble.is_none());
    let unlisted: Vec<TableFreeze> = readable.map(linked_live).collect();
    let tables = plan.freeze.len() + unlisted.len();
    for freeze in plan.freeze.iter().chain(&unlisted) {
        let own_parts = freeze.parts().count() as u64;
        // The server's figures, which can have any value.
        let own_bytes = freeze.parts().fold(0, |sum: u64, part| sum.saturating_add(part.bytes));
        let data_parts = freeze.parts().filter(|part| !part.name.is_patch());
        let mut partitions: Vec<&str> = data_parts.map(|part| part.partition.0.as_str()).collect();
        partitions.sort_unstable();
        partitions.dedup();
        parts += own_parts;
        bytes = own_bytes.saturating_add(bytes);
        let (how, frozen) = match &freeze.freeze {
            FreezeScope::Whole => ("table", Vec::new()),
            FreezeScope::Partitions(partitions) => ("partitions", partitions.iter().map(|id| id.0.as_str()).collect()),
            FreezeScope::Nothing => ("nothing", Vec::new()),
        };
        let linked: Vec<String> = freeze.unfrozen_parts().map(|part| part.name.to_string()).collect();
        frozen_tables += u64::from(how != "nothing");
        let name = freeze.table.name();
        let is_detached = plan.detached.contains_key(name);
        rows.push(vec![
            render::safe(&name.to_string(), 400),
            render::safe(&freeze.table.engine, 40),
            render::thousands(partitions.len() as u64),
            render::thousands(own_parts),
            if is_detached { String::new() } else { render::bytes(own_bytes) },
            frozen_text(how, &frozen),
            if linked.is_empty() { String::new() } else { render::count(linked.len() as u64, "part") },
        ]);
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        list.push(PlannedTable {
            database: name.database.clone(),
            table: name.table.clone(),
            uuid: freeze.table.key.uuid.clone(),
            engine: freeze.table.engine.clone(),
            partitions: owned(&partitions),
            parts: own_parts,
            apparent_bytes: own_bytes,
            freeze: how.to_owned(),
            freeze_partitions: owned(&frozen),
            linked_parts: linked.len() as u64,
            linked_part_names: linked,
            is_detached,
        });
    }
    let dumps: Vec<PlannedDump> = plan.dumps.iter().map(planned_dump).collect();
    rows.extend(plan.dumps.iter().map(dump_row));
    if output.is_json() {
        let document = CreateDocument {
            state: "planned".to_owned(),
            dry_run: true,
            moment: dry_run.moment,
            tables: tables as u64,
            parts,
            apparent_bytes: bytes,
            plan: Some(list),
            copied_disks: Some(copied_disks(plan)),
            dumps: Some(dumps),
            definitions: Some(definitions(plan) as u64),
            server_version: Some(dry_run.server.version.clone()),
            ..CreateDocument::default()
        };
        output.document(&document, &plan.warnings);
    } else {
        print_plan(dry_run, rows, &PlanTotals { tables: tables as u64, frozen_tables, parts, bytes }, output);
        output.warnings(&plan.warnings);
    }
    if plan.warnings.is_empty() { DONE } else { WARNED }
}

/// The sums of a plan.
struct PlanTotals {
    tables: u64,
    frozen_tables: u64,
    parts: u64,
    bytes: u64,
}

/// Prints a plan as a table of these rows, and what its sums and places mean.
fn print_plan(dry_run: &CreateDryRun, rows: Vec<Vec<String>>, totals: &PlanTotals, output: &Output) {
    let plan = &dry_run.plan;
    let dumps = plan.dumps.len() as u64;
    let mut table = TextTable::new([
        name("TABLE"),
        left("ENGINE").cut_to(ENGINE).dropped(2),
        right("PARTITIONS").dropped(1),
        right("PARTS").dropped(3),
        right("SIZE"),
        left("FREEZE").cut_to(16),
        left("LINK").dropped(4),
    ]);
    for row in rows {
        table.add(row);
    }
    output.text(&table.render(output.width()));
    output.prose(&format!(
        "would take {} ({} frozen), {}, {} by the server's count, {}and {} more; nothing was changed\n",
        render::count(totals.tables, "table"),
        totals.frozen_tables,
        render::count(totals.parts, "part"),
        render::bytes(totals.bytes),
        if dumps == 0 { String::new() } else { render::count(dumps, "dump") + ", " },
        render::count(definitions(plan) as u64, "definition"),
    ));
    let copied: Vec<String> = copied_disks(plan).iter().map(|disk| render::safe(disk, 100)).collect();
    if !copied.is_empty() {
        output.prose(&format!(
            "what no earlier snapshot has of the {} {} would be copied: nothing can be linked from there\n",
            if copied.len() == 1 { "disk" } else { "disks" },
            copied.join(", ")
        ));
    }
    if let Some(moment) = &dry_run.moment {
        output.prose(&format!("one moment: {}, had it been taken now\n", moment_text(moment, dumps)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::stages;

    #[test]
    fn seconds_of_stages_add_up_or_are_marked_as_overlapping() {
        let seconds = |all: &[(&'static str, f64)]| stages(&all.iter().copied().collect::<BTreeMap<_, _>>());
        assert_eq!(
            seconds(&[("total", 4.0), ("freeze", 1.0), ("place", 0.5), ("seal", 1.0), ("discover", 0.04)]),
            "4.0 s: freeze 1.0, place 0.5, check 0.0, seal 1.0, the rest 1.5"
        );
        assert_eq!(
            seconds(&[("total", 2.0), ("freeze", 1.5), ("place", 1.5), ("dump", 0.2)]),
            "2.0 s: freeze 1.5, place 1.5, check 0.0, seal 0.0, dump 0.2; stages overlap"
        );
    }
}
