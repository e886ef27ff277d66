use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::ops::{self, Compared, OpError};
use chsnap::plan::SnapshotReference;
use chsnap::plan::diff::{RowTally, TableChange, TableDiff, Tallies};
use serde_json::json;

use super::documents::{DiffDocument, DiffSideRow};
use super::globals::Globals;
use super::layout::{self, TextTable, Width, left, name, right};
use super::opening;
use super::output::Output;
use super::render;
use super::{CommandResult, DONE, WARNED};

/// Show what changed between two snapshots, or from one to the server as it is now
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The earlier state: an id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT")]
    before: String,
    /// The later state: a snapshot as above, or live for the current state of the server
    #[arg(value_name = "SNAPSHOT|live", default_value = LIVE)]
    after: String,
    /// Also list the parts that differ
    #[arg(long)]
    parts: bool,
}

/// The state of the server as it is now.
const LIVE: &str = "live";

const EXAMPLES: &str = "Only a comparison with live needs the server.

Examples:
  chsnap diff latest
  chsnap diff latest~1 latest
  chsnap diff latest live --parts";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let before: SnapshotReference = args.before.parse().map_err(OpError::from)?;
    let repository = opening::open(globals)?;
    let compared = if args.after == LIVE {
        let server = opening::connect(globals, Arc::new(AtomicBool::new(false)))?;
        ops::diff_live(&repository, &before, &server, &globals.paths(), globals.jobs())?
    } else {
        let after: SnapshotReference = args.after.parse().map_err(OpError::from)?;
        ops::diff_snapshots(&repository, &before, &after)?
    };
    if output.is_json() {
        output.document(&document(&compared), &compared.warnings);
    } else {
        output.text(&text(&compared, args.parts, Utc::now(), output.width()));
    }
    output.warnings(&compared.warnings);
    Ok(if compared.warnings.is_empty() { DONE } else { WARNED })
}

fn document(compared: &Compared) -> DiffDocument {
    let snapshot = |(id, time)| DiffSideRow { id: Some(id), time: Some(time), live: false };
    DiffDocument {
        a: snapshot(compared.before),
        b: compared.after.map_or(DiffSideRow { id: None, time: None, live: true }, snapshot),
        identical: compared.diff.is_empty(),
        diff: compared.diff.clone(),
        not_compared: compared.not_compared.clone(),
    }
}

/// `3 (1.2 MiB)`, or nothing.
fn cell(tally: RowTally) -> String {
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

/// Cells of a row that are figures.
const FIGURES: usize = 6;

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
        (TableChange::Added, _) => "new table".to_owned(),
        (TableChange::Dropped, _) => "dropped table".to_owned(),
        (TableChange::Detached, _) => "detached table".to_owned(),
        (TableChange::Recreated, _) => "another table of this name".to_owned(),
        (_, Some(was)) => format!("renamed from {}", render::safe(&was.to_string(), 200)),
        (TableChange::Changed, None) if table.definition.is_some() => "definition changed".to_owned(),
        _ => String::new(),
    }
}

/// Whether it has parts on one of the two sides.
fn has_parts(table: &TableDiff) -> bool {
    table.tallies.before.parts > 0 || table.tallies.after.parts > 0
}

/// Whether it has only a note why it cannot be compared.
fn is_only_noted(table: &TableDiff) -> bool {
    table.state == TableChange::Unchanged && !table.notes.is_empty() && !has_parts(table)
}

fn text(compared: &Compared, with_parts: bool, now: DateTime<Utc>, width: Width) -> String {
    let age = |time: DateTime<Utc>| format!("{} ago", render::age(time, now));
    let (id, time) = compared.before;
    let target = match compared.after {
        Some((id, time)) => format!("{id} ({})", age(time)),
        None => "what the server has now".to_owned(),
    };
    let mut text = layout::prose(&format!("from {id} ({}) to {target}\n\n", age(time)), width);
    let tables = &compared.diff.tables;
    let is_same = |table: &&TableDiff| table.state == TableChange::Unchanged && table.notes.is_empty();
    let mut rows = TextTable::new([
        name("TABLE"),
        left("PARTITION").cut_to(12),
        right("ADDED").dropped(4),
        right("MERGED AWAY").dropped(1),
        right("MUTATED").dropped(3),
        right("DROPPED").dropped(5),
        right("ROWS"),
        right("BYTES").dropped(2),
    ]);
    let is_row = |table: &&TableDiff| !is_same(table) && !is_only_noted(table);
    for table in tables.iter().filter(is_row) {
        let (mut name, mut word) = (render::safe(&table.name.to_string(), 400), word(table));
        if width == Width::Unlimited && !word.is_empty() {
            name = format!("{name}  {}", std::mem::take(&mut word));
        }
        let mut row = vec![name, String::new()];
        row.extend(if has_parts(table) { cells(&table.tallies) } else { vec![String::new(); FIGURES] });
        rows.add_with_notes(row, vec![word]);
        for partition in table.partitions.iter().filter(|partition| !partition.tallies.is_unchanged()) {
            let mut row = vec![String::new(), render::safe(&partition.partition.0, 40)];
            row.extend(cells(&partition.tallies));
            rows.add(row);
        }
    }
    if tables.iter().any(|table| is_row(&table)) {
        text += &rows.render(width);
    } else {
        text += "nothing changed\n";
    }
    text += &details(tables, with_parts, width);
    let same = tables.iter().filter(is_same).count();
    let unknown = compared.diff.tallies.unknown.parts;
    let mut last = format!("\n{} unchanged", render::count(same as u64, "table"));
    if unknown > 0 {
        let _ = write!(last, "; of {} nothing says whether they are the same", render::count(unknown, "part"));
    }
    if !compared.not_compared.is_empty() {
        let count = render::count(compared.not_compared.len() as u64, "table");
        let _ = write!(last, "; {count} not compared, because one of the two left them out by option");
    }
    text += &layout::prose(&(last + "\n"), width);
    let noted: Vec<String> =
        tables.iter().filter(|table| is_only_noted(table)).map(|table| table.name.to_string()).collect();
    if !noted.is_empty() {
        let count = render::count(noted.len() as u64, "table");
        let line = format!("of {count} without parts it is not known (--json says why): {}\n", noted.join(", "));
        text += &layout::prose(&(render::safe(line.trim_end(), 4000) + "\n"), width);
    }
    text
}

/// The details that the rows do not contain: notes, parts, definitions.
fn details(tables: &[TableDiff], with_parts: bool, width: Width) -> String {
    let mut text = String::new();
    for table in tables.iter().filter(|table| !is_only_noted(table)) {
        let name = render::safe(&table.name.to_string(), 200);
        for note in &table.notes {
            text += &layout::prose(&format!("\n{name}: {}\n", render::safe(note, 500)), width);
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
                let line = render::safe(&format!("{line}  {rows}  {}", render::bytes(part.bytes)), 4000);
                text += &layout::paragraph(&line, width, 0, 4);
            }
        }
        if let Some(definition) = &table.definition {
            let _ = writeln!(text, "\n{name}: definition");
            for line in definition.lines() {
                let _ = writeln!(text, "  {}", render::safe(line, 2000));
            }
        }
    }
    text
}
