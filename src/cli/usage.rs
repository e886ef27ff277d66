use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chsnap::model::SnapshotId;
use chsnap::ops::OpError;
use chsnap::ops::prune::reasons;
use chsnap::ops::usage::{By, Freed, SnapshotUsage, Span, TableUsage, Usage, UsageRequest, usage};
use chsnap::plan::SnapshotReference;
use chsnap::plan::retention::{Policy, Reason};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::globals::Globals;
use super::opening;
use super::output::{Output, insert_path, insert_warnings};
use super::policy::PolicyArgs;
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED, series};

/// Say what snapshots take, and what removing them would free
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Ids, beginnings of ids, latest, or latest~N; all snapshots where none is named
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// A row for each of what
    #[arg(long, value_name = "WHAT", default_value = "snapshot")]
    by: Each,
    /// What these would free together: A..C, A.., ..C, or A,B,C
    #[arg(long, value_name = "SNAPSHOTS", value_delimiter = ',')]
    freed: Vec<String>,
    /// Look at every file instead of asking the index, and put the index right where it differs
    #[arg(long)]
    exact: bool,
    /// With rules: why each snapshot stays, or that it would go
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Why each snapshot stays by the rules, where there are any.
type Reasons = Option<BTreeMap<SnapshotId, Vec<Reason>>>;

const HELP: &str =
    "Words: TO RESTORE is the sum of the files' sizes. NEW is what the snapshot before it does not have. \
    ALONE is what removing that one snapshot frees, WITH OLDER what removing it and all before it frees, directories \
    included, once chsnap gc has emptied the trash. LIVE is what ClickHouse (or anything outside the repository) has \
    too: it costs nothing until it goes there. What two snapshots share is freed with the second of them: bytes of \
    ALONE do not add up, and two equal snapshots free nothing alone.

Examples:
  chsnap usage
  chsnap usage --by table
  chsnap usage --keep-daily 7 --keep-weekly 4
  chsnap usage --freed ..latest~7";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Each {
    Snapshot,
    Table,
    Partition,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let request = UsageRequest {
        snapshots: args.snapshots.iter().map(|text| reference(text)).collect::<Result<_, _>>()?,
        by: match args.by {
            Each::Snapshot => By::Snapshot,
            Each::Table => By::Table,
            Each::Partition => By::Partition,
        },
        freed: args.freed.iter().map(|text| span(text)).collect::<Result<_, _>>()?,
        exact: args.exact,
        paths: globals.paths(),
        jobs: globals.jobs_for(&repository),
    };
    let now = Utc::now();
    let found = usage(&repository, &request, now)?;
    let policy = args.policy.over(Policy::default());
    let reasons = if policy.is_empty() { None } else { Some(reasons(&repository, &policy, now)?) };
    if output.is_json() {
        let mut document = document(&found, args.by, &reasons);
        document.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut document, "repository", repository.path());
        output.json(&Value::Object(document));
    } else {
        output.text(&text(&found, &reasons, globals.quiet, now));
    }
    output.warnings(&found.warnings);
    Ok(if found.warnings.is_empty() { DONE } else { WARNED })
}

fn reference(text: &str) -> Result<SnapshotReference, OpError> {
    Ok(text.parse()?)
}

fn span(text: &str) -> Result<Span, OpError> {
    let Some((from, to)) = text.split_once("..") else { return Ok(Span::One(reference(text)?)) };
    let end = |text: &str| (!text.is_empty()).then(|| reference(text)).transpose();
    Ok(Span::FromTo(end(from)?, end(to)?))
}

fn document(found: &Usage, by: Each, reasons: &Reasons) -> Map<String, Value> {
    let filesystem = &found.filesystem;
    let totals = &found.totals;
    let foreign: Vec<Value> = totals
        .foreign_shadows
        .iter()
        .map(|shadow| {
            let mut row = Map::new();
            insert_path(&mut row, "path", &shadow.path);
            row.insert("allocated_bytes".to_owned(), shadow.allocated_bytes.into());
            row.insert("freed_bytes".to_owned(), shadow.freed_bytes.into());
            Value::Object(row)
        })
        .collect();
    let removed: Vec<String> = found.removed.iter().map(ToString::to_string).collect();
    let growth = &found.growth;
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("time", json!(found.time));
    put(
        "filesystem",
        json!({
            "size_bytes": filesystem.size_bytes, "free_bytes": filesystem.free_bytes,
            "inodes": filesystem.inodes, "free_inodes": filesystem.free_inodes,
        }),
    );
    put("snapshots", found.snapshots.iter().map(|row| snapshot_row(row, reasons)).collect());
    if let Some(tables) = &found.tables {
        put(if by == Each::Table { "tables" } else { "partitions" }, tables.iter().map(table_row).collect());
    }
    if let Some(freed) = &found.freed {
        put("freed", freed_row(freed));
    }
    put("trash", json!({"snapshots": removed, "freed_bytes": totals.trash_bytes}));
    put(
        "totals",
        json!({
            "live_shared_bytes": totals.live_shared_bytes,
            "pinned_by_snapshots_bytes": totals.pinned_bytes,
            "metadata_bytes": totals.metadata_bytes,
            "directory_bytes": totals.directory_bytes,
            "index_bytes": totals.index_bytes,
            "cost_bytes": totals.cost_bytes,
            "incoming_bytes": totals.incoming_bytes,
            "shadow_bytes": totals.shadow_bytes,
            "foreign_shadows": foreign,
        }),
    );
    put(
        "growth",
        json!({
            "since": growth.period.map(|(since, _)| since), "until": growth.period.map(|(_, until)| until),
            "written_bytes_per_day": growth.written_bytes_per_day.map(rounded),
            "used_bytes_per_day": growth.used_bytes_per_day.map(rounded),
            "days_until_full": growth.days_until_full,
        }),
    );
    if let Some(exact) = &found.exact {
        let differing: Vec<String> = exact.differing.iter().map(ToString::to_string).collect();
        put("exact", json!({"agrees": differing.is_empty(), "differing": differing}));
    }
    let cost = &found.cost;
    put(
        "cost",
        json!({
            "asked_files": cost.asked_files, "listed_snapshots": cost.listed_snapshots,
            "seconds": {
                "index": cost.index.as_secs_f64(), "list": cost.list.as_secs_f64(),
                "stat": cost.stat.as_secs_f64(), "sum": cost.sum.as_secs_f64(),
            },
        }),
    );
    insert_warnings(&mut document, &found.warnings);
    document
}

#[expect(clippy::cast_possible_truncation, reason = "a filesystem has less than 2^63 bytes")]
fn rounded(bytes: f64) -> i64 {
    bytes.round() as i64
}

fn snapshot_row(row: &SnapshotUsage, reasons: &Reasons) -> Value {
    let (summary, held) = (&row.summary, &row.held);
    let mut value = json!({
        "id": summary.id,
        "time": summary.time,
        "name": summary.label.text,
        "state": summary.state,
        "pinned": row.pin.is_some(),
        "tables": summary.totals.tables,
        "parts": summary.totals.parts,
        "files": summary.totals.files,
        "apparent_bytes": summary.totals.apparent_bytes,
        "allocated_bytes": held.allocated_bytes,
        "written_bytes": held.written_bytes,
        "exclusive_bytes": held.exclusive_bytes,
        "directory_bytes": held.directory_bytes,
        "metadata_bytes": held.metadata_bytes,
        "freed_bytes": row.freed_bytes,
        "freed_with_older_bytes": row.freed_with_older_bytes,
        "live_shared_bytes": held.live_shared_bytes,
    });
    if let Some(object) = value.as_object_mut() {
        object.extend(row.pin.as_ref().map(|pin| ("pin".to_owned(), json!(pin))));
        let told = reasons.as_ref().and_then(|reasons| reasons.get(&summary.id));
        let told = told.map(|told| told.iter().map(ToString::to_string).collect::<Vec<_>>());
        object.extend(told.map(|told| ("reasons".to_owned(), json!(told))));
    }
    value
}

fn table_row(row: &TableUsage) -> Value {
    let mut value = json!({
        "database": row.table.database,
        "table": row.table.table,
        "parts": row.parts,
        "apparent_bytes": row.apparent_bytes,
        "allocated_bytes": row.allocated_bytes,
        "live_shared_bytes": row.live_shared_bytes,
        "exclusive_bytes": row.exclusive_bytes,
        "directory_bytes": row.directory_bytes,
        "freed_bytes": row.exclusive_bytes + row.directory_bytes,
    });
    if let (Some(partition), Some(object)) = (&row.partition, value.as_object_mut()) {
        object.insert("partition".to_owned(), partition.as_str().into());
    }
    value
}

fn freed_row(freed: &Freed) -> Value {
    json!({
        "snapshots": freed.snapshots,
        "exclusive_bytes": freed.file_bytes,
        "directory_bytes": freed.directory_bytes,
        "freed_bytes": freed.freed_bytes,
        "freed_with_trash_bytes": freed.freed_with_trash_bytes,
    })
}

const WRITABLE: &str = "a String takes everything";

fn text(found: &Usage, reasons: &Reasons, quiet: bool, now: DateTime<Utc>) -> String {
    let filesystem = &found.filesystem;
    let used = filesystem.size_bytes.saturating_sub(filesystem.free_bytes);
    let share = (used.saturating_mul(100)).checked_div(filesystem.size_bytes).unwrap_or(0);
    let mut text = format!(
        "filesystem {}, {share} % used, {} free",
        render::bytes(filesystem.size_bytes),
        render::bytes(filesystem.free_bytes)
    );
    if filesystem.inodes > 0 {
        write!(
            text,
            "; {} of {} inodes free",
            render::thousands(filesystem.free_inodes),
            render::thousands(filesystem.inodes)
        )
        .expect(WRITABLE);
    }
    text.push_str("\n\n");
    text.push_str(&match &found.tables {
        Some(tables) => tables_text(tables),
        None if found.snapshots.is_empty() => "no snapshots yet: chsnap create takes one\n".to_owned(),
        None => snapshots_text(found, reasons, now),
    });
    text.push('\n');
    if let Some(freed) = &found.freed {
        let more = freed.freed_with_trash_bytes.saturating_sub(freed.freed_bytes);
        let trash = if more > 0 {
            format!("; {} with what is in the trash", render::bytes(freed.freed_with_trash_bytes))
        } else {
            String::new()
        };
        writeln!(
            text,
            "removing {} frees {}: files {}, directories {}{trash}",
            render::count(freed.snapshots.len() as u64, "snapshot"),
            render::bytes(freed.freed_bytes),
            render::bytes(freed.file_bytes),
            render::bytes(freed.directory_bytes),
        )
        .expect(WRITABLE);
    }
    text.push_str(&footer(found));
    if !quiet && found.tables.is_none() && !found.snapshots.is_empty() {
        text.push_str(
            "ALONE: what removing that snapshot frees; WITH OLDER: it and all before it; LIVE: still ClickHouse's too.\n\
             What two snapshots share goes with the second, so ALONE does not add up (chsnap usage --help).\n",
        );
    }
    text
}

fn snapshots_text(found: &Usage, reasons: &Reasons, now: DateTime<Utc>) -> String {
    let snapshots = &found.snapshots;
    let columns = [
        ("SNAPSHOT", Left),
        ("AGE", Right),
        ("TO RESTORE", Right),
        ("NEW", Right),
        ("LIVE", Right),
        ("ALONE", Right),
        ("WITH OLDER", Right),
        ("", Left),
        ("NOTES", Left),
    ];
    let most = snapshots.iter().map(|row| row.freed_with_older_bytes).max().unwrap_or(0);
    let rows = snapshots.iter().map(|row| {
        let (summary, held) = (&row.summary, &row.held);
        let mut notes = Vec::new();
        if let Some(label) = summary.label.text.as_deref().filter(|label| !label.is_empty()) {
            notes.push(render::safe(label, 40));
        }
        match reasons.as_ref().and_then(|reasons| reasons.get(&summary.id)) {
            Some(told) if told.is_empty() => notes.push("would go".to_owned()),
            Some(told) => notes.extend(told.iter().map(|reason| render::safe(&reason.to_string(), 50))),
            None => notes.extend(row.pin.as_ref().map(|pin| format!("pinned: {}", render::safe(&pin.reason, 40)))),
        }
        notes.extend(series::notes(summary, &found.series.main));
        if !summary.is_complete() {
            notes.push(summary.state.replace('_', " "));
        }
        vec![
            summary.id.to_string(),
            render::age(summary.time, now),
            if summary.is_complete() { render::bytes(summary.totals.apparent_bytes) } else { "?".to_owned() },
            render::bytes(held.written_bytes),
            render::bytes(held.live_shared_bytes),
            render::bytes(row.freed_bytes),
            render::bytes(row.freed_with_older_bytes),
            render::bar(row.freed_with_older_bytes, most),
            notes.join("; "),
        ]
    });
    render::table(&columns, rows)
}

fn tables_text(tables: &[TableUsage]) -> String {
    let by_partition = tables.iter().any(|row| row.partition.is_some());
    let mut columns = vec![("TABLE", Left)];
    if by_partition {
        columns.push(("PARTITION", Left));
    }
    columns.extend([
        ("PARTS", Right),
        ("TO RESTORE", Right),
        ("ON DISK", Right),
        ("LIVE", Right),
        ("FREES", Right),
        ("", Left),
    ]);
    let freed = |row: &TableUsage| row.exclusive_bytes + row.directory_bytes;
    let most = tables.iter().map(freed).max().unwrap_or(0);
    let rows = tables.iter().map(|row| {
        let mut cells = vec![render::safe(&row.table.to_string(), 100)];
        if by_partition {
            cells.push(render::safe(row.partition.as_deref().unwrap_or_default(), 60));
        }
        cells.extend([
            render::thousands(row.parts),
            render::bytes(row.apparent_bytes),
            render::bytes(row.allocated_bytes),
            render::bytes(row.live_shared_bytes),
            render::bytes(freed(row)),
            render::bar(freed(row), most),
        ]);
        cells
    });
    let mut text = render::table(&columns, rows);
    text.push_str("ON DISK: in all of these snapshots together; FREES: what they hold and nothing else does.\n");
    text
}

fn footer(found: &Usage) -> String {
    let totals = &found.totals;
    let data = totals.pinned_bytes.saturating_sub(totals.metadata_bytes);
    let mut lines = vec![
        ("shared with live", totals.live_shared_bytes, "costs nothing until ClickHouse lets go of it".to_owned()),
        (
            "the repository costs",
            totals.cost_bytes,
            format!(
                "data that only it holds {}, directories {}, manifests and definitions {}, index {}",
                render::bytes(data),
                render::bytes(totals.directory_bytes),
                render::bytes(totals.metadata_bytes),
                render::bytes(totals.index_bytes)
            ),
        ),
    ];
    if totals.trash_bytes > 0 || !found.removed.is_empty() {
        let removed = render::count(found.removed.len() as u64, "removed snapshot");
        lines.push(("in the trash", totals.trash_bytes, format!("{removed}; chsnap gc frees it")));
    }
    if totals.incoming_bytes > 0 {
        lines.push(("half built", totals.incoming_bytes, "being made now, or left by an interrupted run".to_owned()));
    }
    if totals.shadow_bytes > 0 {
        lines.push(("leftover freezes", totals.shadow_bytes, "ours; the next create or gc removes them".to_owned()));
    }
    for shadow in &totals.foreign_shadows {
        let path = render::safe(&shadow.path.display().to_string(), 200);
        let text = format!("of {} in {path}, which is not chsnap's", render::bytes(shadow.allocated_bytes));
        lines.push(("another freeze", shadow.freed_bytes, text));
    }
    let figures: Vec<String> = lines.iter().map(|(_, bytes, _)| render::bytes(*bytes)).collect();
    let (names, widths) = (lines.iter().map(|(name, ..)| name.len()).max(), figures.iter().map(String::len).max());
    let (names, widths) = (names.unwrap_or(0), widths.unwrap_or(0));
    let mut text = String::new();
    for ((name, _, remark), figure) in lines.iter().zip(&figures) {
        writeln!(text, "{name:names$}  {figure:>widths$}  {remark}").expect(WRITABLE);
    }
    text + &growth_text(found)
}

fn growth_text(found: &Usage) -> String {
    let growth = &found.growth;
    let Some(written) = growth.written_bytes_per_day else { return String::new() };
    let mut text = format!("snapshots had {} of new data a day", render::bytes(rounded(written).unsigned_abs()));
    if let Some(used) = growth.used_bytes_per_day {
        let grows = if used < 0.0 { "shrinks" } else { "grows" };
        write!(
            text,
            "; what is taken on the filesystem {grows} by {} a day",
            render::bytes(rounded(used).unsigned_abs())
        )
        .expect(WRITABLE);
    }
    match growth.days_until_full {
        Some(days) if days < 10_000.0 => write!(text, ": full in {days:.0} days").expect(WRITABLE),
        _ => {}
    }
    text + "\n"
}
