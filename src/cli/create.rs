use std::ffi::OsString;
use std::path::{Component, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::exec::PlaceMode;
use chsnap::model::{DumpKind, Label, PartitionId, UnlistedTable};
use chsnap::ops::OpError;
use chsnap::ops::create::{self, DryRun, FreezeMode, IdsMode, Report, Request, RequestedPin};
use chsnap::plan::{
    CreatePlan, DumpOptions, Scope, Selection, SeriesKey, TableDump, TableFreeze, TablePattern, is_reserved_name,
};
use chsnap::repo::Repository;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::globals::{Globals, cores, duration, size};
use super::opening;
use super::output::{Output, insert_warnings, with_warnings};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, Failure, WARNED, pin, signals};

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
    /// Partitions to take, by id as in system.parts
    #[arg(long, value_name = "ID")]
    partition: Vec<String>,
    /// Tables whose data cannot be taken (KeeperMap, Buffer …) and may stay behind without a warning
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
    /// A name, by which the snapshot can be named afterwards; not one that reads as an id or as latest
    #[arg(long, value_name = "LABEL")]
    name: Option<OsString>,
    /// Pin the snapshot, for this reason if one is given
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "")]
    pin: Option<String>,
    /// Until when the pin holds: the last day (2026-12-31, by UTC), a time, or for how long (30d) [default: until unpin]
    #[arg(long, value_name = "DATE", value_parser = pin::end)]
    until: Option<DateTime<Utc>>,
    /// Sum the rows of each part, which reads all new data: drill compares the sums
    #[arg(long)]
    digest: bool,
    /// What is frozen
    #[arg(long, value_name = "WHAT", default_value = "changed")]
    freeze: Freeze,
    /// How parts are placed: auto renames, else links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: Place,
    /// Tables that the server freezes at once [default: the number of cores, 4 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    freeze_jobs: Option<u16>,
    /// Threads of the server for each FREEZE [default: what it is set to]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    freeze_threads: Option<u16>,
    /// Owners, modes, times and attributes that the repository's filesystem cannot keep
    #[arg(long, value_name = "HOW", default_value = "keep")]
    ids: Ids,
    /// Copy without holding the bytes against the parts' own checksums
    #[arg(long)]
    no_verify_copy: bool,
    /// Copy no more than this in a second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
    /// Link files of different tables by their hashes alone, without comparing their bytes
    #[arg(long)]
    trust_hash: bool,
    /// Link parts from earlier snapshots that hold them under other inodes, as after a fetch from a replica
    #[arg(long)]
    dedup_relink: bool,
    /// Do not begin with less than this free, nor go on copying, for example 20GiB
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    min_free: u64,
    /// Say what a FREEZE may be waiting for once it has run for this long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    patience: Duration,
    /// Take this server although the repository belongs to another one
    #[arg(long)]
    allow_other_server: bool,
    /// Show what would be done, and touch nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

const EXAMPLES: &str = "Examples:
  chsnap create --repo /var/lib/clickhouse/chsnap
  chsnap create --table 'posthog.*' --exclude 'posthog.*_tmp' --name before-upgrade --pin 'upgrade to 26.9'
  chsnap create --table 'posthog.events' --partition 202611 --dry-run";

/// A dump comes as one answer, and no answer of more than 1 GiB is taken in.
const MOST_DUMPED_BYTES: u64 = 1000 << 20;

fn dump_limit(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    let most = humansize::format_size(MOST_DUMPED_BYTES, humansize::BINARY);
    if bytes > MOST_DUMPED_BYTES { Err(format!("a dump can have {most} at most")) } else { Ok(bytes) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Freeze {
    /// Partitions that are not as in the last snapshot; the others are linked from there.
    Changed,
    /// Every table that is taken.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// Rename, else link.
    Auto,
    /// Rename only.
    Rename,
    /// Link only.
    Link,
    /// Copy everything that no earlier snapshot has.
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ids {
    /// Nothing is copied to a filesystem that cannot keep them.
    Keep,
    /// What it cannot keep is written in the list of parts.
    Record,
}

impl Args {
    fn request(self, globals: &Globals, repository: &Repository) -> Request {
        Request {
            selection: Selection {
                include: self.table,
                exclude: self.exclude,
                accept: self.accept,
                partitions: self.partition.into_iter().map(|id| PartitionId(id.into())).collect(),
                dumps: DumpOptions { limit_bytes: self.dump_limit, memory: self.dump_memory },
            },
            label: self.name.as_deref().map(Label::new).unwrap_or_default(),
            pin: self.pin.map(|reason| RequestedPin { reason, until: self.until }),
            freeze: match self.freeze {
                Freeze::Changed => FreezeMode::Changed,
                Freeze::All => FreezeMode::All,
            },
            place: match self.place {
                Place::Auto => PlaceMode::Auto,
                Place::Rename => PlaceMode::Rename,
                Place::Link => PlaceMode::Link,
                Place::Copy => PlaceMode::Copy,
            },
            ids: match self.ids {
                Ids::Keep => IdsMode::Keep,
                Ids::Record => IdsMode::Record,
            },
            verifies_copies: !self.no_verify_copy,
            trusts_hash: self.trust_hash,
            relinks: self.dedup_relink,
            copy_rate: self.bwlimit.filter(|rate| *rate > 0),
            freeze_threads: self.freeze_threads,
            digest: self.digest,
            jobs: globals.jobs_for(repository),
            freeze_jobs: self.freeze_jobs.map_or_else(|| cores().min(4), usize::from),
            min_free_bytes: self.min_free,
            allow_other_server: self.allow_other_server,
            configs: self.configs,
            paths: globals.paths(),
            patience: self.patience,
            lock_wait: globals.lock_wait,
        }
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && is_plain { Ok(path) } else { Err("write an absolute path without ..".to_owned()) }
}

/// What the parsers of single options cannot see.
fn check(args: &Args) -> Result<(), Failure> {
    if let Some(name) = args.name.as_ref().map(|name| name.to_string_lossy()).filter(|name| is_reserved_name(name)) {
        return Err(Failure::usage(format!(
            "{name:?} cannot be the name of a snapshot: it reads as an id or as latest"
        ))
        .with_hint("a snapshot can be named by its name: take one that begins with a letter"));
    }
    if args.until.is_some() && args.pin.is_none() {
        return Err(Failure::usage("--until says when a pin ends, and there is none").with_hint("add --pin"));
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
        let plan = create::dry_run(&repository, &server, &request)?;
        return Ok(show_plan(&plan, output));
    }
    let progress = output.progress();
    let result = create::create(&repository, &server, &request, &Utc::now, &progress);
    progress.clear();
    let report = result?;
    output.warnings(&report.warnings);
    if output.is_json() {
        let mut document = document(&report, output);
        document.insert("series".to_owned(), SeriesKey::from(&request.selection).to_string().into());
        output.json(&Value::Object(document));
    } else {
        output.text(&text(&report));
    }
    Ok(if report.warnings.is_empty() { DONE } else { WARNED })
}

/// Merges the fields of `value`, a struct, into `document`.
pub(super) fn merge(document: &mut Map<String, Value>, value: &impl serde::Serialize) {
    if let Ok(Value::Object(fields)) = serde_json::to_value(value) {
        document.extend(fields);
    }
}

fn document(report: &Report, output: &Output) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("schema".to_owned(), output.schema().into());
    document.insert("id".to_owned(), report.id.to_string().into());
    document.insert("state".to_owned(), "complete".into());
    document.insert("time".to_owned(), json!(report.time));
    merge(&mut document, &report.label);
    insert_warnings(&mut document, &report.warnings);
    merge(&mut document, &report.totals);
    document.insert("placed".to_owned(), json!(report.placed));
    document.insert("dumped".to_owned(), json!(report.dumped));
    document.insert("resumed".to_owned(), json!(report.resumed));
    document.insert("link_limit_files".to_owned(), report.afresh_files.into());
    document.insert("seconds".to_owned(), json!(report.seconds));
    document
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
    let seconds = |stage: &str| report.seconds.get(stage).copied().unwrap_or(0.0);
    format!(
        "snapshot {}{label}\n  {}, {}, {}\n  {} to restore, {} on disk, {} of it new\n  {}{dumped}\n  \
         {:.1} s: freeze {:.1}, place {:.1}, check {:.1}, seal {:.1}\n",
        report.id,
        render::count(totals.tables, "table"),
        render::count(totals.parts, "part"),
        render::count(totals.files, "file"),
        render::bytes(totals.apparent_bytes),
        render::bytes(totals.allocated_bytes),
        render::bytes(totals.written_bytes),
        if placed.is_empty() { "no parts to place".to_owned() } else { placed.join(", ") + &copied + &resumed },
        seconds("total"),
        seconds("freeze"),
        seconds("place"),
        seconds("check"),
        seconds("seal"),
    )
}

/// Partitions that are named in a plan; of more the number is given.
const NAMED_PARTITIONS: usize = 3;

fn frozen_text(how: &str, partitions: &[&str]) -> String {
    match partitions.len() {
        0 => how.to_owned(),
        1..=NAMED_PARTITIONS => render::safe(&format!("partition {}", partitions.join(", ")), 100),
        count => format!("{count} partitions"),
    }
}

/// Tables and views of which nothing but the definition is kept.
fn definitions(plan: &CreatePlan) -> usize {
    plan.definitions.len() + plan.left_behind.len()
}

fn planned_dump(dump: &TableDump) -> Value {
    let (name, key) = (dump.table.name(), &dump.table.key);
    json!({
        "database": name.database, "table": name.table, "uuid": key.uuid, "engine": dump.table.engine,
        "kind": dump.kind,
    })
}

/// How much there is of a dump shows only when it is read.
fn dump_row(dump: &TableDump) -> Vec<String> {
    let how = match dump.kind {
        DumpKind::Native => ("dump", ""),
        DumpKind::Files => ("", "its files"),
    };
    let name = render::safe(&dump.table.name().to_string(), 100);
    let mut row = vec![name, render::safe(&dump.table.engine, 40), String::new(), String::new(), String::new()];
    row.extend([how.0.to_owned(), how.1.to_owned()]);
    row
}

fn show_plan(dry_run: &DryRun, output: &Output) -> u8 {
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
        // Figures of the server's, which may be any.
        let own_bytes = freeze.parts().fold(0, |sum: u64, part| sum.saturating_add(part.bytes));
        let data_parts = freeze.parts().filter(|part| !part.name.is_patch());
        let mut partitions: Vec<&str> = data_parts.map(|part| part.partition.0.as_str()).collect();
        partitions.sort_unstable();
        partitions.dedup();
        parts += own_parts;
        bytes = own_bytes.saturating_add(bytes);
        let (how, frozen) = match &freeze.freeze {
            Scope::Whole => ("table", Vec::new()),
            Scope::Partitions(partitions) => ("partitions", partitions.iter().map(|id| id.0.as_str()).collect()),
            Scope::Nothing => ("nothing", Vec::new()),
        };
        let linked = freeze.linked_parts().count() as u64;
        frozen_tables += u64::from(how != "nothing");
        let name = freeze.table.name();
        let is_detached = plan.detached.contains(name);
        rows.push(vec![
            render::safe(&name.to_string(), 100),
            render::safe(&freeze.table.engine, 40),
            partitions.len().to_string(),
            render::thousands(own_parts),
            if is_detached { String::new() } else { render::bytes(own_bytes) },
            frozen_text(how, &frozen),
            if linked > 0 { render::count(linked, "part") } else { String::new() },
        ]);
        list.push(json!({
            "database": name.database, "table": name.table, "uuid": freeze.table.key.uuid,
            "engine": freeze.table.engine, "partitions": partitions, "parts": own_parts,
            "apparent_bytes": own_bytes, "freeze": how, "freeze_partitions": frozen, "linked_parts": linked,
            "is_detached": is_detached,
        }));
    }
    let dumps: Vec<Value> = plan.dumps.iter().map(planned_dump).collect();
    rows.extend(plan.dumps.iter().map(dump_row));
    if output.is_json() {
        let document = json!({
            "schema": output.schema(), "state": "planned", "dry_run": true, "tables": tables, "parts": parts,
            "apparent_bytes": bytes, "plan": list, "dumps": dumps, "definitions": definitions(plan),
            "server_version": dry_run.server.version,
        });
        output.json(&with_warnings(document, &plan.warnings));
    } else {
        let columns = [
            ("TABLE", Left),
            ("ENGINE", Left),
            ("PARTITIONS", Right),
            ("PARTS", Right),
            ("SIZE", Right),
            ("FREEZE", Left),
            ("LINK", Left),
        ];
        output.text(&render::table(&columns, rows));
        output.text(&format!(
            "would take {} ({frozen_tables} frozen), {}, {}, {}and {} more; nothing was changed\n",
            render::count(tables as u64, "table"),
            render::count(parts, "part"),
            render::bytes(bytes),
            if dumps.is_empty() { String::new() } else { render::count(dumps.len() as u64, "dump") + ", " },
            render::count(definitions(plan) as u64, "definition"),
        ));
        output.warnings(&plan.warnings);
    }
    if plan.warnings.is_empty() { DONE } else { WARNED }
}
