use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::model::{Level, SnapshotId};
use chsnap::ops::OpError;
use chsnap::ops::verify::{self, Damage, Drift, Repair, Report, Request};
use chsnap::plan::{SliceChoice, SnapshotReference, TablePattern};
use chsnap::repo::Repository;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::globals::{Globals, duration};
use super::opening;
use super::output::{Output, insert_path, with_warnings};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DAMAGED, DONE, WARNED};

/// Hold snapshots against their manifests and ClickHouse's own checksums
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ids, beginnings of ids, latest, or latest~N [default: all snapshots]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// How thoroughly
    #[arg(long, value_name = "LEVEL", default_value = "size")]
    level: LevelName,
    /// Tables to check, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Read no more than this a second, for example 100MiB
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u64>,
    /// With --level data: read only what no check has read for so long, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Only the I-th of N shares of the parts, 1/30 to 30/30 being all; next/30 is the one checked longest ago
    #[arg(long, value_name = "I/N")]
    slice: Option<SliceChoice>,
    /// Replace what is damaged by links of intact copies, where another snapshot has one
    #[arg(long)]
    repair: bool,
}

const EXAMPLES: &str =
    "Exit codes: 0 all is as it should be; 3 only owners or modes differ from the record (drift), or \
    something could not be checked or written down; 12 damage was found, repaired or not.

Examples:
  chsnap verify
  chsnap verify latest --level data
  chsnap verify --level data --slice next/30 --rate 200MiB
  chsnap verify 2026-11-22T020000Z --level data --repair";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LevelName {
    /// Manifest, every part, every file, none too many; kinds, owners, modes.
    Structure,
    /// Sizes too.
    Size,
    /// Every byte too.
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
/// Rows of damage that a person is shown.
const ROWS: usize = 200;

pub(super) fn run(args: Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let references: Vec<SnapshotReference> =
        args.snapshots.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(OpError::from)?;
    if args.since.is_some() && args.level != LevelName::Data {
        return Err(Failure::usage("--since spares reading, and only --level data reads")
            .with_hint("give --level data, or leave --since out"));
    }
    let request = Request {
        references,
        level: match args.level {
            LevelName::Structure => Level::Structure,
            LevelName::Size => Level::Size,
            LevelName::Data => Level::Data,
        },
        tables: args.table,
        since: args.since,
        slice: args.slice,
        bytes_per_second: args.rate,
        repair: args.repair,
        jobs: globals.jobs_for(&repository),
        lock_wait: globals.lock_wait,
    };
    let progress = output.progress();
    let result = verify::verify(&repository, &request, &Utc::now, &progress);
    progress.clear();
    let report = result?;
    output.warnings(&report.warnings);
    if output.is_json() {
        output.json(&document(&repository, &request, &report, output));
    } else {
        output.text(&text(&repository, &request, &report));
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

fn document(repository: &Repository, request: &Request, report: &Report, output: &Output) -> Value {
    let tally = &report.tally;
    let texts = |ids: &[SnapshotId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let unverifiable: Vec<Value> =
        report.unverifiable.iter().map(|(reason, parts)| json!({"reason": reason, "parts": parts})).collect();
    let document = json!({
        "schema": output.schema(),
        "state": state(report),
        "level": request.level,
        "slice": report.slice,
        "checked": {
            "snapshots": report.ids.len(), "parts": tally.parts, "files": tally.files, "bytes": tally.bytes,
            "metadata_files": report.metadata_files, "read_files": tally.read_files, "read_bytes": tally.read_bytes,
            "spared_parts": tally.spared_parts, "unverifiable_parts": tally.unverifiable_parts,
            "unverifiable_files": tally.unverifiable_files, "unverifiable_bytes": tally.unverifiable_bytes,
        },
        "snapshots": texts(&report.ids),
        "damage": report.damage.iter().map(|damage| damage_document(repository, damage)).collect::<Vec<_>>(),
        "drift": report.drift.iter().map(|drift| drift_document(repository, drift)).collect::<Vec<_>>(),
        "repaired": report.repaired,
        "removed": texts(&report.removed),
        "ids_not_compared": texts(&report.ids_not_kept),
        "unverifiable": unverifiable,
        "oldest": report.oldest,
        "recorded": report.is_recorded,
        "seconds": report.seconds,
        "read_seconds": report.read_seconds,
    });
    with_warnings(document, &report.warnings)
}

/// `drifted` where owners or modes are all that differs.
fn state(report: &Report) -> &'static str {
    match (report.damage.is_empty(), report.drift.is_empty()) {
        (false, _) => "damaged",
        (true, false) => "drifted",
        (true, true) => "sound",
    }
}

fn drift_document(repository: &Repository, drift: &Drift) -> Value {
    let mut document = Map::new();
    if let Some(newest) = drift.ids.last() {
        insert_path(&mut document, "path", &at(repository, *newest, &drift.path));
    }
    document.insert("kind".to_owned(), drift.kind.name().into());
    document.insert("table".to_owned(), drift.table.to_string().into());
    document.insert("part".to_owned(), json!(drift.part));
    document.insert("snapshots".to_owned(), json!(drift.ids));
    document.insert("expected".to_owned(), drift.expected.as_str().into());
    document.insert("found".to_owned(), drift.found.as_str().into());
    document.insert("inodes".to_owned(), drift.inodes.into());
    Value::Object(document)
}

fn damage_document(repository: &Repository, damage: &Damage) -> Value {
    let mut document = Map::new();
    let mut ids: Vec<SnapshotId> = damage.places.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    if let Some((id, path)) = damage.places.first() {
        insert_path(&mut document, "path", &at(repository, *id, path));
    }
    document.insert("kind".to_owned(), damage.kind.name().into());
    document.insert("table".to_owned(), json!(damage.table.as_ref().map(ToString::to_string)));
    document.insert("part".to_owned(), json!(damage.part));
    document.insert("snapshots".to_owned(), json!(ids));
    document.insert("expected".to_owned(), damage.expected.as_str().into());
    document.insert("found".to_owned(), damage.found.as_str().into());
    let paths = |(id, path): &(SnapshotId, PathBuf)| at(repository, *id, path).to_string_lossy().into_owned();
    document.insert("paths".to_owned(), damage.places.iter().map(paths).collect::<Vec<_>>().into());
    document.insert("linked_outside".to_owned(), damage.is_linked_outside.into());
    document.insert("damaged_when_taken".to_owned(), damage.noted.into());
    let intact = damage.intact.as_ref().map(|intact| {
        let mut document = Map::new();
        document.insert("snapshot".to_owned(), intact.id.to_string().into());
        insert_path(&mut document, "path", &at(repository, intact.id, &intact.path));
        document
    });
    document.insert("intact".to_owned(), json!(intact));
    if let Some(repair) = &damage.repair {
        document.insert("repaired".to_owned(), (*repair == Repair::Done).into());
        if let Repair::Failed(reason) = repair {
            document.insert("not_repaired".to_owned(), reason.as_str().into());
        }
    }
    Value::Object(document)
}

fn text(repository: &Repository, request: &Request, report: &Report) -> String {
    let tally = &report.tally;
    let mut text = String::new();
    if !report.damage.is_empty() {
        text.push_str(&damage_table(repository, request, &report.damage));
        text.push('\n');
    }
    if !report.drift.is_empty() {
        text.push_str(&drift_table(&report.drift));
        text.push('\n');
    }
    let share = report.slice.map(|slice| format!(", slice {slice}")).unwrap_or_default();
    writeln!(
        text,
        "{} checked at level {}{share}: {}, {}, {}; {} beside them",
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
        writeln!(text, "{parts} cannot be held against ClickHouse's checksums: {reason}").expect(WRITABLE);
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
        (_, 0) if report.drift.is_empty() => "no damage".to_owned(),
        (_, 0) => "no damage, but drift: owners or modes are not as recorded".to_owned(),
        (_, count) => format!("DAMAGE: {} wrong", render::count(count, "thing")),
    };
    writeln!(text, "{verdict}").expect(WRITABLE);
    if report.repaired > 0 {
        writeln!(text, "{} replaced by links of intact copies", render::count(report.repaired, "damaged file"))
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

fn damage_table(repository: &Repository, request: &Request, damage: &[Damage]) -> String {
    let mut columns = vec![
        ("KIND", Left),
        ("WHERE", Left),
        ("SNAPSHOTS", Right),
        ("EXPECTED", Left),
        ("FOUND", Left),
        ("INTACT", Left),
    ];
    if request.repair {
        columns.push(("REPAIR", Left));
    }
    let rows = damage.iter().take(ROWS).map(|damage| {
        let place = damage.places.first();
        let path = place.map(|(id, path)| at(repository, *id, path).to_string_lossy().into_owned()).unwrap_or_default();
        let mut snapshots: Vec<&SnapshotId> = damage.places.iter().map(|(id, _)| id).collect();
        snapshots.dedup();
        let outside = if damage.is_linked_outside { " and elsewhere" } else { "" };
        let mut row = vec![
            damage.kind.to_string(),
            render::safe(&path, 300),
            format!("{}{outside}", snapshots.len()),
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
        row
    });
    let mut text = render::table(&columns, rows);
    if let Some(more) = damage.len().checked_sub(ROWS).filter(|more| *more > 0) {
        writeln!(text, "and {more} more, which --json shows").expect(WRITABLE);
    }
    if damage.iter().any(|damage| damage.is_linked_outside) {
        text.push_str(
            "elsewhere: an inode that no snapshot alone has; the live table most likely has the same damage\n",
        );
    }
    text
}

/// Drift by table and kind: what `chown -R` has changed is one row a table.
fn drift_table(drift: &[Drift]) -> String {
    let mut by_table: BTreeMap<(String, &str, &str, &str), DriftedTable> = BTreeMap::new();
    for drift in drift {
        let key = (drift.table.to_string(), drift.kind.name(), drift.expected.as_str(), drift.found.as_str());
        let table = by_table.entry(key).or_default();
        table.parts.insert(drift.part.as_str());
        table.snapshots.extend(&drift.ids);
        table.inodes += drift.inodes;
    }
    let columns = [
        ("DRIFT", Left),
        ("TABLE", Left),
        ("PARTS", Left),
        ("FILES", Right),
        ("SNAPSHOTS", Right),
        ("RECORDED", Left),
        ("FOUND", Left),
    ];
    let rows = by_table.iter().take(ROWS).map(|((table, kind, expected, found), drifted)| {
        let first = drifted.parts.first().copied().unwrap_or_default();
        let more = drifted.parts.len().saturating_sub(1) as u64;
        let parts = if more == 0 { first.to_owned() } else { format!("{first} and {} more", render::thousands(more)) };
        vec![
            (*kind).to_owned(),
            render::safe(table, 200),
            render::safe(&parts, 200),
            render::thousands(drifted.inodes),
            drifted.snapshots.len().to_string(),
            (*expected).to_owned(),
            (*found).to_owned(),
        ]
    });
    let mut text = render::table(&columns, rows);
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
