use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::model::SnapshotId;
use chsnap::ops::{self, Compared, OpError};
use chsnap::plan::SnapshotReference;
use chsnap::plan::diff::{TableDiff, TableState, Tallies, Tally};
use serde_json::{Map, Value, json};

use super::create::merge;
use super::globals::Globals;
use super::opening;
use super::output::{Output, insert_warnings};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED};

/// Show what changed between two snapshots, or from one to the server as it is now
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The earlier state: an id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT")]
    before: String,
    /// The later state: the same, or live for what the server has now
    #[arg(value_name = "SNAPSHOT|live")]
    after: String,
    /// Also list the parts that are not the same
    #[arg(long)]
    parts: bool,
}

const EXAMPLES: &str = "Only live asks the server.

Examples:
  chsnap diff latest~1 latest
  chsnap diff latest live --parts";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let before: SnapshotReference = args.before.parse().map_err(OpError::from)?;
    let repository = opening::open(globals)?;
    let compared = if args.after == "live" {
        let server = opening::connect(globals, Arc::new(AtomicBool::new(false)))?;
        ops::diff_live(&repository, &before, &server, &globals.paths(), globals.jobs())?
    } else {
        let after: SnapshotReference = args.after.parse().map_err(OpError::from)?;
        ops::diff_snapshots(&repository, &before, &after)?
    };
    if output.is_json() {
        output.json(&document(&compared, output));
    } else {
        output.text(&text(&compared, args.parts, Utc::now()));
    }
    output.warnings(&compared.warnings);
    Ok(if compared.warnings.is_empty() { DONE } else { WARNED })
}

fn document(compared: &Compared, output: &Output) -> Value {
    let named = |(id, time): (SnapshotId, DateTime<Utc>)| json!({"id": id, "time": time});
    let mut document = Map::new();
    document.insert("schema".to_owned(), output.schema().into());
    document.insert("a".to_owned(), named(compared.before));
    document.insert("b".to_owned(), compared.after.map_or_else(|| json!({"live": true}), named));
    document.insert("identical".to_owned(), compared.diff.is_empty().into());
    merge(&mut document, &compared.diff);
    document.insert("not_compared".to_owned(), json!(compared.not_compared));
    insert_warnings(&mut document, &compared.warnings);
    Value::Object(document)
}

/// `3 (1.2 MiB)`, or nothing.
fn cell(tally: Tally) -> String {
    if tally.parts == 0 {
        return String::new();
    }
    format!("{} ({})", render::thousands(tally.parts), render::bytes(tally.bytes))
}

fn signed(before: u64, after: u64, show: fn(u64) -> String) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Less => format!("-{}", show(before - after)),
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", show(after - before)),
    }
}

fn cells(tallies: &Tallies) -> Vec<String> {
    let (before, after) = (tallies.before, tallies.after);
    let is_known = before.rows_unknown_parts == 0 && after.rows_unknown_parts == 0;
    let mut cells: Vec<String> =
        [tallies.added, tallies.merged, tallies.mutated, tallies.dropped].into_iter().map(cell).collect();
    cells.push(if is_known { signed(before.rows, after.rows, render::thousands) } else { "?".to_owned() });
    cells.push(signed(before.bytes, after.bytes, render::bytes));
    cells
}

fn word(table: &TableDiff) -> String {
    match (table.state, &table.renamed_from) {
        (TableState::Added, _) => "  new table".to_owned(),
        (TableState::Dropped, _) => "  dropped table".to_owned(),
        (TableState::Detached, _) => "  detached table".to_owned(),
        (TableState::Recreated, _) => "  another table of this name".to_owned(),
        (_, Some(was)) => format!("  renamed from {}", render::safe(&was.to_string(), 80)),
        _ => String::new(),
    }
}

fn text(compared: &Compared, with_parts: bool, now: DateTime<Utc>) -> String {
    let age = |time: DateTime<Utc>| format!("{} ago", render::age(time, now));
    let (id, time) = compared.before;
    let target = match compared.after {
        Some((id, time)) => format!("{id} ({})", age(time)),
        None => "what the server has now".to_owned(),
    };
    let mut text = format!("from {id} ({}) to {target}\n\n", age(time));
    let tables = &compared.diff.tables;
    let is_same = |table: &&TableDiff| table.state == TableState::Unchanged && table.notes.is_empty();
    let columns = [
        ("TABLE", Left),
        ("PARTITION", Left),
        ("ADDED", Right),
        ("MERGED AWAY", Right),
        ("MUTATED", Right),
        ("DROPPED", Right),
        ("ROWS", Right),
        ("BYTES", Right),
    ];
    let mut rows = Vec::new();
    for table in tables.iter().filter(|table| !is_same(table)) {
        let name = render::safe(&table.name.to_string(), 80) + &word(table);
        let mut row = vec![name, String::new()];
        row.extend(cells(&table.tallies));
        rows.push(row);
        for partition in table.partitions.iter().filter(|partition| !partition.tallies.is_unchanged()) {
            let mut row = vec![String::new(), render::safe(&partition.partition.0, 40)];
            row.extend(cells(&partition.tallies));
            rows.push(row);
        }
    }
    if rows.is_empty() {
        text += "nothing changed\n";
    } else {
        text += &render::table(&columns, rows);
    }
    for table in tables {
        let name = render::safe(&table.name.to_string(), 200);
        for note in &table.notes {
            let _ = writeln!(text, "\n{name}: {}", render::safe(note, 500));
        }
        if with_parts {
            for part in table.partitions.iter().flat_map(|partition| &partition.parts) {
                let change = json!(part.change);
                let mut line = format!("{name}  {}  {}", change.as_str().unwrap_or_default(), part.part);
                if let Some(into) = &part.into {
                    let _ = write!(line, " into {into}");
                }
                if !part.from.is_empty() {
                    let from: Vec<&str> = part.from.iter().map(chsnap::model::PartName::as_str).collect();
                    let _ = write!(line, " from {}", from.join(" "));
                }
                let rows = part.rows.map_or_else(|| "? rows".to_owned(), |rows| render::count(rows, "row"));
                let _ =
                    writeln!(text, "{}", render::safe(&format!("{line}  {rows}  {}", render::bytes(part.bytes)), 4000));
            }
        }
        if let Some(definition) = &table.definition {
            let _ = writeln!(text, "\n{name}: definition");
            for line in definition.lines() {
                let _ = writeln!(text, "  {}", render::safe(line, 2000));
            }
        }
    }
    let same = tables.iter().filter(is_same).count();
    let unknown = compared.diff.tallies.unknown.parts;
    let _ = write!(text, "\n{} unchanged", render::count(same as u64, "table"));
    if unknown > 0 {
        let _ = write!(text, "; of {} nothing says whether they are the same", render::count(unknown, "part"));
    }
    if !compared.not_compared.is_empty() {
        let count = render::count(compared.not_compared.len() as u64, "table");
        let _ = write!(text, "; {count} not compared, because one of the two was told to leave them out");
    }
    text + "\n"
}
