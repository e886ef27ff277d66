//! Shows the plan of a restore into a directory, as text and as JSON.

use std::fmt::Write as _;

use chsnap::model::Placement;
use chsnap::ops::restore::PreparedDirectory;
use chsnap::plan::{DirectoryAction, DirectoryObstacle, DirectoryTable};

use super::documents::{
    NativeRow, ObstacleRow, PlacedFigures, PlacedRow, RestoreDocument, RestoreTable, RestoreTotals,
};
use super::failure::CommandFailure;
use super::layout::{self, Width};
use super::output::{Output, path_base64};
use super::render;
use super::restore_text::{PLANNED, plan_table};
use super::{CommandResult, DONE, WARNED};

const WRITABLE: &str = "a String takes everything";

/// Shows the plan. The exit code is that of the restore, if the plan allows a prediction.
pub(super) fn show(prepared: &PreparedDirectory<'_>, output: &Output) -> CommandResult {
    let plan = prepared.plan();
    if output.is_json() {
        output.document(&document(prepared), &plan.all_warnings());
    } else {
        output.text(&text(prepared, output.width()));
        output.warnings(&plan.warnings);
    }
    match prepared.check_obstacles() {
        // Only one document is printed: the plan itself shows what is in the way.
        Err(error) if output.is_json() => return Ok(CommandFailure::from(error).code()),
        result => result?,
    }
    Ok(if plan.all_warnings().is_empty() { DONE } else { WARNED })
}

fn placement_name(placement: Placement) -> &'static str {
    match placement {
        Placement::Linked => "link",
        Placement::Reflinked => "reflink",
        Placement::Copied | Placement::Renamed => "copy",
    }
}

fn action(table: &DirectoryTable) -> (&'static str, &'static str) {
    match table.action {
        DirectoryAction::Place(placement) => ("place", placement_name(placement)),
        DirectoryAction::Define => ("define", "definition"),
        DirectoryAction::Refuse(_) => ("refuse", "NOT RESTORED"),
    }
}

fn text(prepared: &PreparedDirectory<'_>, width: Width) -> String {
    let plan = prepared.plan();
    let mut text = String::new();
    let path = render::safe(&plan.path.to_string_lossy(), 1000);
    for obstacle in &plan.obstacles {
        writeln!(text, "NOT POSSIBLE: {}", render::safe(&obstacle.to_string(), 500)).expect(WRITABLE);
    }
    if plan.makes_directory {
        writeln!(text, "make {path}").expect(WRITABLE);
    }
    if !plan.leftovers.is_empty() {
        let names = render::safe(&plan.leftovers.join(", "), 500);
        writeln!(text, "remove what an interrupted restore has left there: {names}").expect(WRITABLE);
    }
    let mut text = layout::prose(&text, width);
    let mut rows = plan_table();
    for table in &plan.tables {
        let figure = |text: String| if table.amount.parts > 0 { text } else { String::new() };
        let reason = match &table.action {
            DirectoryAction::Refuse(reason) => Some(reason.clone()),
            DirectoryAction::Place(_) | DirectoryAction::Define => None,
        };
        let notes: Vec<String> = reason.into_iter().chain(table.warnings.iter().map(ToString::to_string)).collect();
        let cells = vec![
            render::safe(&table.name.to_string(), 400),
            render::safe(&table.engine, 40),
            action(table).1.to_owned(),
            figure(render::thousands(table.amount.parts)),
            figure(render::thousands(table.amount.rows)),
            figure(render::bytes(table.amount.bytes)),
        ];
        rows.add_with_notes(cells, notes.iter().map(|note| render::safe(note, 500)).collect());
    }
    text.push_str(&rows.render(width));
    let total = plan.amount();
    let line = format!(
        "from {} into {path}: {}, {}, {}; {} free there\n",
        prepared.snapshot(),
        render::count(plan.tables.len() as u64, "object"),
        render::count(total.parts, "part"),
        render::bytes(total.bytes),
        render::bytes(plan.free_bytes),
    );
    text + &layout::prose(&line, width)
}

fn planned_table(table: &DirectoryTable) -> RestoreTable {
    let (how, reason) = match &table.action {
        DirectoryAction::Place(placement) => (Some(placement_name(*placement)), None),
        DirectoryAction::Define => (None, None),
        DirectoryAction::Refuse(reason) => (None, Some(reason.clone())),
    };
    RestoreTable {
        database: table.name.database.clone(),
        table: table.name.table.clone(),
        engine: table.engine.clone(),
        state: PLANNED.to_owned(),
        action: Some(action(table).0.to_owned()),
        how: how.map(str::to_owned),
        parts: table.amount.parts,
        rows: table.amount.rows,
        bytes: table.amount.bytes,
        reason,
        warnings: table.warnings.iter().map(|warning| warning.message.clone()).collect(),
        ..RestoreTable::default()
    }
}

fn document(prepared: &PreparedDirectory<'_>) -> RestoreDocument {
    let plan = prepared.plan();
    let obstacle =
        |obstacle: &DirectoryObstacle| ObstacleRow { kind: obstacle.kind().to_owned(), message: obstacle.to_string() };
    let total = plan.amount();
    let placed = |placement| {
        let amount = plan.placed(placement);
        PlacedRow { parts: amount.parts, files: None, bytes: amount.bytes }
    };
    RestoreDocument {
        state: PLANNED.to_owned(),
        dry_run: true,
        snapshot: prepared.snapshot().to_string(),
        makes_directory: Some(plan.makes_directory),
        leftovers: Some(plan.leftovers.clone()),
        tables: plan.tables.iter().map(planned_table).collect(),
        in_the_way: Some(plan.obstacles.iter().map(obstacle).collect()),
        free_bytes: Some(plan.free_bytes),
        totals: RestoreTotals {
            tables: plan.tables.len() as u64,
            parts: total.parts,
            rows: total.rows,
            bytes: total.bytes,
            placed: Some(PlacedFigures {
                renamed: PlacedRow::default(),
                linked: placed(Placement::Linked),
                reflinked: placed(Placement::Reflinked),
                copied: placed(Placement::Copied),
            }),
            ..RestoreTotals::default()
        },
        path: Some(plan.path.to_string_lossy().into_owned()),
        path_base64: path_base64(&plan.path),
        native: plan
            .native
            .as_ref()
            .map(|native| NativeRow { without_updates: native.left_updates, ..NativeRow::default() }),
        ..RestoreDocument::default()
    }
}
