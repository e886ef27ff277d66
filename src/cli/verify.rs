use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::model::{Level, SnapshotId, WarningKind};
use chsnap::ops::OpError;
use chsnap::ops::verify::{self, Damage, Drift, Repair, Report, Request};
use chsnap::plan::{SliceChoice, SnapshotReference, TablePattern};
use chsnap::repo::Repository;
use clap::ValueEnum;

use super::documents::{CheckedTotals, DamageRow, DriftRow, IntactRow, UnverifiableRow, VerifyDocument, texts};
use super::failure::CommandFailure;
use super::globals::{Globals, duration};
use super::layout::{self, TextTable, Width, left, name, right};
use super::opening;
use super::output::{Output, path_base64};
use super::render;
use super::{CommandResult, DAMAGED, DONE, WARNED};

/// Compare snapshots with their manifests and ClickHouse's own checksums
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ids, beginnings of ids, names, latest, or latest~N [default: all snapshots]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// What is checked
    #[arg(long, value_name = "LEVEL", default_value = "size")]
    level: LevelName,
    /// Tables to check, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Read no more than this per second, for example 100MiB
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u64>,
    /// With --level data: read only bytes that no check has read within this time, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Only the I-th of N shares of the parts (1/30 to 30/30 are all parts); next/30 is the share checked longest ago
    #[arg(long, value_name = "I/N")]
    slice: Option<SliceChoice>,
    /// Replace damaged files with links to intact copies in other snapshots
    #[arg(long)]
    repair: bool,
}

const EXAMPLES: &str = "Exit codes: 0 no damage; 3 only owners or modes differ from the record (drift), or \
    something could not be checked or recorded; 12 damage was found, repaired or not.

Examples:
  chsnap verify
  chsnap verify latest --level data
  chsnap verify --level data --slice next/30 --rate 200MiB
  chsnap verify 2026-11-22T020000Z --level data --repair";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LevelName {
    /// Manifest, parts and files: presence, type, owner and mode.
    Structure,
    /// Also sizes.
    Size,
    /// Also every byte.
    Data,
}

/// `100MiB`, `100MiB/s`.
fn rate(text: &str) -> Result<u64, String> {
    let size = text.strip_suffix("/s").unwrap_or(text);
    let parsed = parse_size::Config::new().with_binary().parse_size(size);
    let bytes = parsed.map_err(|error| format!("{error} (write 500M or 100MiB)"))?;
    if bytes == 0 { Err("nothing could be read at that rate".to_owned()) } else { Ok(bytes) }
}

const WRITABLE: &str = "a String takes everything";
/// Rows of damage that are shown.
const ROWS: usize = 200;

impl Args {
    pub(super) fn request(self, globals: &Globals, repository: &Repository) -> Result<Request, CommandFailure> {
        let references: Vec<SnapshotReference> =
            self.snapshots.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(OpError::from)?;
        if self.since.is_some() && self.level != LevelName::Data {
            return Err(CommandFailure::usage("--since spares reading, and only --level data reads")
                .with_hint("give --level data, or leave --since out"));
        }
        Ok(Request::new()
            .with_references(references)
            .with_level(match self.level {
                LevelName::Structure => Level::Structure,
                LevelName::Size => Level::Size,
                LevelName::Data => Level::Data,
            })
            .with_tables(self.table)
            .with_since(self.since)
            .with_slice(self.slice)
            .with_bytes_per_second(self.rate)
            .with_repair(self.repair)
            .with_jobs(globals.jobs_for(repository))
            .with_lock_wait(globals.lock_wait))
    }
}

pub(super) fn run(args: Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let request = args.request(globals, &repository)?;
    let progress = output.progress();
    let result = verify::verify(&repository, &request, &Utc::now, &progress);
    progress.clear();
    let report = result?;
    output.warnings(&report.warnings);
    if output.is_json() {
        output.document(&document(&repository, &request, &report), &report.warnings);
    } else {
        output.text(&text(&repository, &request, &report, output.width()));
    }
    Ok(match (report.damage.is_empty(), report.warnings.is_empty()) {
        (false, _) => DAMAGED,
        (true, false) => WARNED,
        (true, true) => DONE,
    })
}

fn at(repository: &Repository, id: SnapshotId, path: &Path) -> PathBuf {
    repository.path().join("snapshots").join(id.to_string()).join(path)
}

fn document(repository: &Repository, request: &Request, report: &Report) -> VerifyDocument {
    let tally = &report.tally;
    let unverifiable = report.unverifiable.iter();
    VerifyDocument {
        state: state(report).to_owned(),
        level: request.level,
        slice: report.slice,
        checked: CheckedTotals {
            snapshots: report.ids.len() as u64,
            parts: tally.parts,
            files: tally.files,
            bytes: tally.bytes,
            metadata_files: report.metadata_files,
            read_files: tally.read_files,
            read_bytes: tally.read_bytes,
            spared_parts: tally.spared_parts,
            unverifiable_parts: tally.unverifiable_parts,
            unverifiable_files: tally.unverifiable_files,
            unverifiable_bytes: tally.unverifiable_bytes,
        },
        snapshots: texts(&report.ids),
        noted_damaged: texts(&report.noted_damaged),
        damage: report.damage.iter().map(|damage| damage_row(repository, damage)).collect(),
        drift: report.drift.iter().map(|drift| drift_row(repository, drift)).collect(),
        repaired: report.repaired,
        removed: texts(&report.removed),
        ids_not_compared: texts(&report.ids_not_kept),
        unverifiable: unverifiable
            .map(|(reason, parts)| UnverifiableRow { reason: reason.clone(), parts: *parts })
            .collect(),
        oldest: report.oldest,
        recorded: report.is_recorded,
        seconds: report.seconds,
        read_seconds: report.read_seconds,
    }
}

/// `drifted` if only owners or modes differ.
fn state(report: &Report) -> &'static str {
    match (report.damage.is_empty(), report.noted_damaged.is_empty(), report.drift.is_empty()) {
        (false, ..) => "damaged",
        (true, false, _) => "noted_damaged",
        (true, true, false) => "drifted",
        (true, true, true) => "sound",
    }
}

fn drift_row(repository: &Repository, drift: &Drift) -> DriftRow {
    let path = drift.ids.last().map(|newest| at(repository, *newest, &drift.path)).unwrap_or_default();
    DriftRow {
        path: path.to_string_lossy().into_owned(),
        path_base64: path_base64(&path),
        kind: drift.kind.name().to_owned(),
        table: drift.table.to_string(),
        part: drift.part.clone(),
        snapshots: texts(&drift.ids),
        expected: drift.expected.clone(),
        found: drift.found.clone(),
        inodes: drift.inodes,
    }
}

fn damage_row(repository: &Repository, damage: &Damage) -> DamageRow {
    let mut ids: Vec<SnapshotId> = damage.places.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let path = damage.places.first().map(|(id, path)| at(repository, *id, path)).unwrap_or_default();
    let paths = |(id, path): &(SnapshotId, PathBuf)| at(repository, *id, path).to_string_lossy().into_owned();
    let intact = damage.intact.as_ref().map(|intact| {
        let path = at(repository, intact.id, &intact.path);
        IntactRow {
            snapshot: intact.id.to_string(),
            path: path.to_string_lossy().into_owned(),
            path_base64: path_base64(&path),
        }
    });
    DamageRow {
        path: path.to_string_lossy().into_owned(),
        path_base64: path_base64(&path),
        kind: damage.kind.name().to_owned(),
        table: damage.table.as_ref().map(ToString::to_string),
        part: damage.part.clone(),
        snapshots: texts(&ids),
        expected: damage.expected.clone(),
        found: damage.found.clone(),
        paths: damage.places.iter().map(paths).collect(),
        linked_outside: damage.is_linked_outside,
        damaged_when_taken: damage.noted,
        intact,
        repaired: damage.repair.as_ref().map(|repair| *repair == Repair::Done),
        not_repaired: match &damage.repair {
            Some(Repair::Failed(reason)) => Some(reason.clone()),
            _ => None,
        },
    }
}

fn text(repository: &Repository, request: &Request, report: &Report, width: Width) -> String {
    tables_text(repository, request, report, width) + &layout::prose(&verdict_text(request, report), width)
}

fn tables_text(repository: &Repository, request: &Request, report: &Report, width: Width) -> String {
    let mut text = String::new();
    if !report.damage.is_empty() {
        text.push_str(&damage_table(repository, request, &report.damage, width));
        text.push('\n');
    }
    if !report.drift.is_empty() {
        text.push_str(&drift_table(&report.drift, width));
        text.push('\n');
    }
    text
}

/// Whether all bytes were read, or the journal with the findings of earlier checks could be read.
fn knows_all(request: &Request, report: &Report) -> bool {
    let has_read_all = request.level == Level::Data && report.slice.is_none() && report.tally.spared_parts == 0;
    has_read_all || !report.warnings.iter().any(|warning| warning.kind == WarningKind::JournalUnreadable)
}

fn verdict_text(request: &Request, report: &Report) -> String {
    let tally = &report.tally;
    let mut text = String::new();
    let share = report.slice.map(|slice| format!(", slice {slice}")).unwrap_or_default();
    writeln!(
        text,
        "{} checked at level {}{share}: {}, {}, {}; {} outside of parts",
        render::count(report.ids.len() as u64, "snapshot"),
        request.level,
        render::count(tally.parts, "part"),
        render::count(tally.files, "file"),
        render::bytes(tally.bytes),
        render::count(report.metadata_files, "definition"),
    )
    .expect(WRITABLE);
    if request.level == Level::Data {
        writeln!(
            text,
            "{} read in {:.1} s ({}/s); what several snapshots share is read once",
            render::bytes(tally.read_bytes),
            report.read_seconds,
            render::bytes(per_second(tally.read_bytes, report.read_seconds)),
        )
        .expect(WRITABLE);
    }
    if tally.spared_parts > 0 {
        let since =
            report.oldest.map(|time: DateTime<Utc>| format!(" on {}", time.format("%Y-%m-%d"))).unwrap_or_default();
        let spared = render::count(tally.spared_parts, "part");
        writeln!(text, "{spared} not read again: earlier checks have, the oldest{since}").expect(WRITABLE);
    }
    for (reason, parts) in &report.unverifiable {
        let (parts, reason) = (render::count(*parts, "part"), render::safe(reason, 200));
        writeln!(text, "{parts} cannot be compared with ClickHouse's checksums: {reason}").expect(WRITABLE);
    }
    if tally.unverifiable_files > 0 && request.level == Level::Data {
        let (files, bytes) = (render::count(tally.unverifiable_files, "file"), render::bytes(tally.unverifiable_bytes));
        writeln!(
            text,
            "{files} with {bytes} have no checksum anywhere: only names, sizes, owners and modes were checked"
        )
        .expect(WRITABLE);
    }
    for id in &report.ids_not_kept {
        writeln!(text, "{id} was made with --ids record: owners and modes were not compared").expect(WRITABLE);
    }
    for id in &report.removed {
        writeln!(text, "{id} was removed meanwhile").expect(WRITABLE);
    }
    let verdict = match (report.ids.len() + report.removed.len(), report.damage.len() as u64) {
        (0, 0) => "there are no snapshots to check".to_owned(),
        (_, 0) if !report.noted_damaged.is_empty() => format!(
            "nothing new; {} noted as damaged by an earlier check of their data",
            render::count(report.noted_damaged.len() as u64, "snapshot")
        ),
        (_, 0) if !knows_all(request, report) => {
            "no damage in what was checked; what earlier checks found is not fully known".to_owned()
        }
        (_, 0) if report.drift.is_empty() => "no damage".to_owned(),
        (_, 0) => "no damage, but drift: owners or modes are not as recorded".to_owned(),
        (_, count) => format!("DAMAGE: {} wrong", render::count(count, "thing")),
    };
    writeln!(text, "{verdict}").expect(WRITABLE);
    let lost = report.damage.iter().filter(|damage| damage.intact.is_none() && damage.part.is_some()).count() as u64;
    if lost > 0 {
        writeln!(
            text,
            "no snapshot has an intact copy of {}: the next chsnap create takes such a part from the server again if \
             the live one is intact",
            render::count(lost, "damaged entry"),
        )
        .expect(WRITABLE);
    }
    if report.repaired > 0 {
        let files = render::count(report.repaired, "damaged file");
        writeln!(
            text,
            "{files} replaced by links of intact copies; the damage stays noted until chsnap verify --level data reads them"
        )
        .expect(WRITABLE);
    }
    text
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few significant digits are shown"
)]
fn per_second(bytes: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (bytes as f64 / seconds) as u64 } else { bytes }
}

fn damage_table(repository: &Repository, request: &Request, damage: &[Damage], width: Width) -> String {
    let mut columns = vec![
        left("KIND"),
        right("SNAPSHOTS"),
        left("EXPECTED").cut_to(12).dropped(2),
        left("FOUND").cut_to(12).dropped(3),
        left("INTACT").dropped(4),
    ];
    if request.repair {
        columns.push(left("REPAIR"));
    }
    // A path is never cut, so that it can be copied from there.
    let mut table = TextTable::new(columns).with_notes_named("WHERE");
    for damage in damage.iter().take(ROWS) {
        let place = damage.places.first();
        let path = place.map(|(id, path)| at(repository, *id, path).to_string_lossy().into_owned()).unwrap_or_default();
        let mut snapshots: Vec<&SnapshotId> = damage.places.iter().map(|(id, _)| id).collect();
        snapshots.dedup();
        let outside = if damage.is_linked_outside { " and elsewhere" } else { "" };
        let mut row = vec![
            damage.kind.to_string(),
            format!("{}{outside}", render::thousands(snapshots.len() as u64)),
            render::safe(&damage.expected, 40),
            render::safe(&damage.found, 60),
            damage.intact.as_ref().map_or_else(|| "none".to_owned(), |intact| format!("in {}", intact.id)),
        ];
        if request.repair {
            row.push(match &damage.repair {
                Some(Repair::Done) => "done".to_owned(),
                Some(Repair::Failed(reason)) => render::safe(reason, 100),
                None => String::new(),
            });
        }
        table.add_with_notes(row, vec![render::safe(&path, 1000)]);
    }
    let mut text = table.render(width);
    if let Some(more) = damage.len().checked_sub(ROWS).filter(|more| *more > 0) {
        writeln!(text, "and {more} more, which --json shows").expect(WRITABLE);
    }
    if damage.iter().any(|damage| damage.is_linked_outside) {
        let words = "elsewhere: an inode that no snapshot alone has; the live table most likely has the same damage\n";
        text.push_str(&layout::prose(words, width));
    }
    text
}

/// Drift by table and kind: the effect of `chown -R` is one row per table.
fn drift_table(drift: &[Drift], width: Width) -> String {
    let mut by_table: BTreeMap<(String, &str, &str, &str), DriftedTable> = BTreeMap::new();
    for drift in drift {
        let key = (drift.table.to_string(), drift.kind.name(), drift.expected.as_str(), drift.found.as_str());
        let table = by_table.entry(key).or_default();
        table.parts.insert(drift.part.as_str());
        table.snapshots.extend(&drift.ids);
        table.inodes += drift.inodes;
    }
    let mut rows = TextTable::new([
        left("DRIFT"),
        name("TABLE"),
        left("PARTS").cut_to(20).dropped(3),
        right("FILES").dropped(1),
        right("SNAPSHOTS").dropped(2),
        left("RECORDED"),
        left("FOUND"),
    ]);
    for ((table, kind, expected, found), drifted) in by_table.iter().take(ROWS) {
        let first = drifted.parts.first().copied().unwrap_or_default();
        let more = drifted.parts.len().saturating_sub(1) as u64;
        let parts = if more == 0 { first.to_owned() } else { format!("{first} and {} more", render::thousands(more)) };
        rows.add(vec![
            (*kind).to_owned(),
            render::safe(table, 200),
            render::safe(&parts, 200),
            render::thousands(drifted.inodes),
            render::thousands(drifted.snapshots.len() as u64),
            (*expected).to_owned(),
            (*found).to_owned(),
        ]);
    }
    let mut text = rows.render(width);
    if let Some(more) = by_table.len().checked_sub(ROWS).filter(|more| *more > 0) {
        writeln!(text, "and {more} more, which --json shows").expect(WRITABLE);
    }
    text
}

/// Drift of one kind in one table.
#[derive(Default)]
struct DriftedTable<'a> {
    parts: BTreeSet<&'a str>,
    snapshots: BTreeSet<SnapshotId>,
    inodes: u64,
}
