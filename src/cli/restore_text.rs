//! Shows the plan and the result of a restore, as text and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use chsnap::model::Detachment;
use chsnap::ops::restore::{PreparedRestore, Report, RestoreOutcome, RestoredState, TableReport};
use chsnap::plan::{
    Action, Expired, FoundPath, KeeperReplica, KeptTableState, NotRun, ObjectAction, ObjectPlan, ParsedDefinition,
    PartitionScope, ReplicaPlan, TablePlan, ViewReplacement,
};

use super::access_text;
use super::documents::{
    ExpiredRow, LossRow, NativeRow, NotRunRow, ObjectRow, PlannedReplica, ReplacesRow, ReplicaHost, RestoreDocument,
    RestoreTable, RestoreTotals,
};
use super::layout::{self, ENGINE, TextTable, Width, left, name, right};
use super::output::path_base64;
use super::render;

const WRITABLE: &str = "a String takes everything";
/// Letters of a statement that the user may want to run.
const STATEMENT_LIMIT: usize = 4000;

fn action(plan: &TablePlan) -> (&'static str, &'static str) {
    match plan.action {
        Action::Place => ("place", "new table"),
        Action::Swap if plan.replaces.is_some() => ("replace", "REPLACE the table"),
        Action::Swap => ("replace", "replace the empty table"),
        Action::Partitions(PartitionScope::All) => ("replace_partitions", "REPLACE all partitions"),
        Action::Partitions(PartitionScope::Selected) if plan.replaces.is_some() => ("partitions", "REPLACE partitions"),
        Action::Partitions(PartitionScope::Selected | PartitionScope::Missing) => ("partitions", "add partitions"),
        Action::FillReplica if !is_replicated(plan) => ("fill_replica", "new table"),
        Action::FillReplica => ("fill_replica", "new replicated table"),
        Action::MakeReplica if fetches(plan) => ("fetch", "FETCH from other replicas"),
        Action::MakeReplica => ("make_replica", "new replicated table"),
        Action::Blocked(_) => ("blocked", "NOT MADE"),
        Action::Fill { replaces: false } => ("fill", "new table, from its dump"),
        Action::Fill { replaces: true } if plan.replaces.is_some() => ("fill", "REPLACE, from its dump"),
        Action::Fill { replaces: true } => ("fill", "replace empty, from dump"),
        Action::Make(_) => ("make", "new"),
        Action::ReplaceView(_) if plan.engine == "Dictionary" => ("replace", "REPLACE the dictionary"),
        Action::ReplaceView(_) => ("replace", "REPLACE the view"),
        Action::Keep(KeptTableState::Same) => ("keep", "exists, same"),
        Action::Keep(KeptTableState::Expired { .. }) => ("keep", "exists, the rest has expired"),
        Action::Keep(_) => ("keep", "exists, DIFFERS: stays"),
        Action::Skip(_) => ("skip", "NOT MADE"),
        Action::Damaged(_) | Action::Impossible(_) => ("impossible", "NOT POSSIBLE"),
    }
}

fn is_replicated(plan: &TablePlan) -> bool {
    plan.definition.as_ref().is_none_or(ParsedDefinition::is_replicated)
}

/// Whether a table gets its data from its other replicas.
fn fetches(plan: &TablePlan) -> bool {
    plan.replica.as_ref().is_some_and(|replica| replica.found == FoundPath::Peers)
}

/// Whether a table is made as a plain one.
fn is_plain(table: &TablePlan) -> bool {
    table.live.is_none() && table.definition.as_ref().is_some_and(|definition| !definition.is_replicated())
}

/// Notes on a table's place in Keeper.
fn replica_notes(replica: &ReplicaPlan) -> Vec<String> {
    let path = &replica.path;
    let mut notes = Vec::new();
    notes.push(match replica.found {
        FoundPath::Absent if replica.has_own_path => format!(
            "a path of its own, {path}: no other replica has it, and inserts of before are not recognized as duplicates there"
        ),
        FoundPath::Absent if !replica.forgets.is_empty() => {
            format!("removes the replicas {} of {path} from Keeper first", replica.forgets.join(", "))
        }
        FoundPath::Absent => format!("{path} is not in Keeper"),
        FoundPath::Empty => format!("{path} in Keeper has no data"),
        FoundPath::Chosen => "its database of the engine Replicated makes it on all its replicas".to_owned(),
        FoundPath::Untold => format!("{path}: the server does not tell what Keeper has there"),
        FoundPath::Peers => {
            let listed: Vec<String> = replica.replicas.iter().map(ToString::to_string).collect();
            format!("{path} has {}: their data of now, not the snapshot's", listed.join(", "))
        }
    });
    notes
}

fn replica_row(replica: &ReplicaPlan) -> PlannedReplica {
    let host = |one: &KeeperReplica| ReplicaHost {
        name: one.name.clone(),
        host: one.host.clone(),
        is_active: one.is_active,
        parts: one.parts,
    };
    PlannedReplica {
        path: Some(replica.path.clone()),
        name: Some(replica.name.clone()),
        found: Some(replica.found.word().to_owned()),
        replicas: Some(replica.replicas.iter().map(host).collect()),
        own_path: Some(replica.has_own_path),
        forgets: Some(replica.forgets.clone()),
        ..PlannedReplica::default()
    }
}

pub(super) fn plan(prepared: &PreparedRestore<'_>, width: Width) -> String {
    let plan = prepared.plan();
    let mut text = String::new();
    for step in &plan.recovery {
        writeln!(text, "after an interrupted restore: {}", render::safe(&step.to_string(), 500)).expect(WRITABLE);
    }
    if let Some(cluster) = &plan.on_cluster {
        let cluster = render::safe(cluster, 100);
        writeln!(
            text,
            "on all hosts of cluster {cluster}: databases, views, functions, replicated tables; parts are placed on this host"
        )
        .expect(WRITABLE);
    }
    for database in &plan.databases {
        let name = render::safe(&database.name, 100);
        match &database.engine {
            Ok(_) => writeln!(text, "make database {name}"),
            Err(reason) => writeln!(text, "database {name} is NOT POSSIBLE: {}", render::safe(reason, 500)),
        }
        .expect(WRITABLE);
    }
    for object in &plan.objects {
        let name = render::safe(&format!("{} {}", object.kind, object.name), 200);
        match &object.action {
            ObjectAction::Make(statement) => {
                let secret = if statement.has_hidden_secret() { ", with [HIDDEN] for its secret" } else { "" };
                writeln!(text, "make {name}{secret}").expect(WRITABLE);
            }
            ObjectAction::Refuse(reason) => {
                writeln!(text, "{name} is NOT MADE: {}", render::safe(reason, 500)).expect(WRITABLE);
            }
            ObjectAction::KeepOther => writeln!(text, "{name} exists and DIFFERS: stays").expect(WRITABLE),
            ObjectAction::Keep => {}
        }
    }
    text.push_str(&access_text::plan(&plan.access));
    let mut text = layout::prose(&text, width);
    let mut rows = plan_table();
    for table in &plan.tables {
        let has_rows = table.restores.parts > 0 || table.restores.bytes > 0;
        let figure = |text: String| if has_rows { text } else { String::new() };
        let cells = vec![
            render::safe(&table.to.to_string(), 400),
            render::safe(&table.engine, 40),
            action(table).1.to_owned(),
            figure(render::thousands(table.restores.parts)),
            figure(render::thousands(table.restores.rows)),
            figure(render::bytes(table.restores.bytes)),
        ];
        rows.add_with_notes(cells, notes(table).iter().map(|note| render::safe(note, 500)).collect());
    }
    text.push_str(&(rows.render(width) + &layout::prose(&all_not_run(&plan.tables), width)));
    let sum = |figure: fn(&TablePlan) -> u64| plan.tables.iter().map(figure).fold(0, u64::saturating_add);
    let line = format!(
        "from {}: {}, {}, {}\n",
        prepared.snapshot(),
        render::count(plan.tables.len() as u64, "object"),
        render::count(sum(|table| table.restores.parts), "part"),
        render::bytes(sum(|table| table.restores.bytes))
    );
    text + &layout::prose(&line, width)
}

/// The table of a plan, without rows.
pub(super) fn plan_table() -> TextTable {
    TextTable::new([
        name("TABLE"),
        left("ENGINE").cut_to(ENGINE).dropped(2),
        left("DO"),
        right("PARTS").dropped(1),
        right("ROWS"),
        right("SIZE"),
    ])
}

/// A line for each mutation that is not run.
fn all_not_run(tables: &[TablePlan]) -> String {
    let lines = tables.iter().flat_map(|table| table.not_run.iter().map(|mutation| not_run(table, mutation) + "\n"));
    lines.collect()
}

/// A mutation that is not run, with the statement that would run it.
fn not_run(table: &TablePlan, mutation: &NotRun) -> String {
    let lacking = match mutation.parts.len() as u64 {
        0 => "parts that are not known".to_owned(),
        parts => format!("{} of {}", render::thousands(parts), render::count(table.restores.parts, "part")),
    };
    let statement = mutation.statement.as_deref().unwrap_or("its statement is not known");
    let text = format!("not run: mutation {}, which {lacking} of {} lack: {statement}", mutation.id, table.to);
    render::safe(&text, STATEMENT_LIMIT)
}

/// Notes on what is done with a table.
fn notes(table: &TablePlan) -> Vec<String> {
    let mut notes = Vec::new();
    if table.from != table.to {
        notes.push(format!("was {}", table.from));
    }
    if let Some(replica) = &table.replica {
        notes.extend(replica_notes(replica));
    }
    if let Some(view) = &table.made_by {
        let meanwhile = if table.action == Action::FillReplica && table.restores.parts > 0 {
            "rows that its source gets before it is filled keep their partition as it is"
        } else {
            "it stays as it is if its source gets rows before it is filled"
        };
        notes.push(format!("its view {view} makes it, under a name that the server chooses; {meanwhile}"));
    }
    let is_chosen = table.replica.as_ref().is_some_and(|replica| replica.found == FoundPath::Chosen);
    if table.uuid_changed && !is_chosen {
        let is_shared = table.replica.as_ref().is_some_and(|replica| replica.has_peers_uuid);
        let why = if is_shared { "as other hosts have it" } else { "the server still knows the old one" };
        notes.push(format!("new UUID: {why}"));
    }
    if matches!(table.action, Action::Partitions(PartitionScope::All)) && table.engine.starts_with("Replicated") {
        notes.push("one partition after the other: for a moment it has some of each".to_owned());
    }
    let has_ttl = table.definition.as_ref().is_some_and(ParsedDefinition::has_ttl);
    if has_ttl && table.engine.starts_with("Replicated") && table.action.places_parts() && !is_plain(table) {
        notes.push("its TTL applies on all replicas at once".to_owned());
    }
    match table.action {
        Action::Partitions(PartitionScope::Selected | PartitionScope::All) => {
            notes.push("rows inserted into a partition at the moment at which it is replaced are lost".to_owned());
        }
        Action::ReplaceView(ViewReplacement::Remade) => {
            notes.push("rows that its source gets in between the two views do not reach its target".to_owned());
        }
        Action::ReplaceView(ViewReplacement::RemadeOver) => {
            notes.push("INSERTs into its source fail, or do not reach it, in between the two views".to_owned());
        }
        _ => {}
    }
    if let Some(spread) = &table.spread {
        notes.push(format!("made on {}, which lacks it", spread.hosts.join(", ")));
    }
    if let Some(live) = table.replaces {
        let (parts, rows) = (render::count(live.parts, "part"), render::count(live.rows, "row"));
        let has_parts = table.live.as_ref().is_none_or(|live| live.loose.is_none());
        notes.push(if has_parts {
            format!("exists: {parts}, {rows}, {}", render::bytes(live.bytes))
        } else {
            format!("exists: {rows}")
        });
    }
    if !table.expired.is_none() {
        notes.push(expired(&table.expired));
    }
    if !table.losses.is_empty() {
        let losses: Vec<String> = table.losses.iter().map(ToString::to_string).collect();
        notes.push(format!("LOSES {}", losses.join(", ")));
    }
    match &table.action {
        Action::Keep(KeptTableState::Expired { expired_rows, .. }) => {
            notes.push(format!("lacks {} of the snapshot, past its TTL", render::count(*expired_rows, "row")));
        }
        Action::Keep(KeptTableState::NotCompared) => notes.push("rows not compared".to_owned()),
        Action::Keep(KeptTableState::OtherDefinition) => notes.push("another definition".to_owned()),
        Action::Keep(KeptTableState::OtherData { rows, stored_rows, has_same_definition }) => {
            let (shown, stored) = (render::count(*rows, "row"), render::count(*stored_rows, "row"));
            notes.push(if rows == stored_rows {
                format!("{shown} as in the snapshot, in other parts")
            } else {
                format!("{shown}, {stored} in the snapshot")
            });
            if !has_same_definition {
                notes.push("another definition".to_owned());
            }
        }
        action => notes.extend(action.reason()),
    }
    match table.detaches {
        None => {}
        Some(Detachment::UntilStart) => notes.push("detached again, until the server starts".to_owned()),
        Some(Detachment::Permanent) => {
            notes.push("detached again, for good where the server knows that".to_owned());
        }
    }
    notes.extend(table.warnings.iter().map(ToString::to_string));
    notes
}

fn expired(expired: &Expired) -> String {
    let amount = |parts, rows| format!("{} in {}", render::count(rows, "row"), render::count(parts, "part"));
    let mut texts = Vec::new();
    if expired.parts > 0 {
        texts.push(format!("{} past its TTL", amount(expired.parts, expired.rows)));
    }
    if expired.partly_parts > 0 {
        texts.push(format!("some of {} past its TTL", amount(expired.partly_parts, expired.partly_rows)));
    }
    texts.join(", ")
}

fn planned_table(table: &TablePlan) -> RestoreTable {
    let not_run = |mutation: &NotRun| NotRunRow {
        id: mutation.id.clone(),
        statement: mutation.statement.clone(),
        parts: mutation.parts.clone(),
    };
    let losses = table.losses.iter();
    RestoreTable {
        database: table.to.database.clone(),
        table: table.to.table.clone(),
        from: Some(table.from.clone()),
        engine: table.engine.clone(),
        state: PLANNED.to_owned(),
        action: Some(action(table).0.to_owned()),
        parts: table.restores.parts,
        rows: table.restores.rows,
        bytes: table.restores.bytes,
        uuid: table.uuid.as_ref().map(|uuid| uuid.as_str().to_owned()),
        uuid_changed: Some(table.uuid_changed),
        replaces: table.replaces.map(|live| ReplacesRow { parts: live.parts, rows: live.rows, bytes: live.bytes }),
        losses: Some(losses.map(|loss| LossRow { kind: loss.kind().to_owned(), message: loss.to_string() }).collect()),
        expired: Some(ExpiredRow {
            parts: table.expired.parts,
            rows: table.expired.rows,
            partly_parts: table.expired.partly_parts,
            partly_rows: table.expired.partly_rows,
        }),
        reason: table.action.reason(),
        replica: table.replica.as_ref().map(replica_row),
        made_on_hosts: Some(table.spread.as_ref().map_or_else(Vec::new, |spread| spread.hosts.clone())),
        not_run: Some(table.not_run.iter().map(not_run).collect()),
        warnings: table.warnings.iter().map(|warning| warning.message.clone()).collect(),
        ..RestoreTable::default()
    }
}

/// The state of a table that is not restored yet.
pub(super) const PLANNED: &str = "planned";

pub(super) fn plan_document(prepared: &PreparedRestore<'_>) -> RestoreDocument {
    let plan = prepared.plan();
    let sum = |figure: fn(&TablePlan) -> u64| plan.tables.iter().map(figure).fold(0, u64::saturating_add);
    RestoreDocument {
        state: PLANNED.to_owned(),
        dry_run: true,
        snapshot: prepared.snapshot().to_string(),
        on_cluster: plan.on_cluster.clone(),
        recovery: Some(plan.recovery.iter().map(ToString::to_string).collect()),
        databases: Some(plan.databases.iter().map(|database| database.name.clone()).collect()),
        objects: Some(plan.objects.iter().map(object).collect()),
        access: Some(access_text::plan_rows(&plan.access)),
        tables: plan.tables.iter().map(planned_table).collect(),
        refused: Some(plan.refused.iter().map(ToString::to_string).collect()),
        totals: RestoreTotals {
            tables: plan.tables.len() as u64,
            parts: sum(|table| table.restores.parts),
            rows: sum(|table| table.restores.rows),
            bytes: sum(|table| table.restores.bytes),
            ..RestoreTotals::default()
        },
        ..RestoreDocument::default()
    }
}

fn object(object: &ObjectPlan) -> ObjectRow {
    let (action, reason) = match &object.action {
        ObjectAction::Make(_) => ("make", None),
        ObjectAction::Keep => ("keep", None),
        ObjectAction::KeepOther => ("keep_other", None),
        ObjectAction::Refuse(reason) => ("refuse", Some(reason)),
    };
    ObjectRow {
        kind: object.kind.to_string(),
        name: object.name.clone(),
        action: action.to_owned(),
        reason: reason.map(ToString::to_string),
    }
}

/// The document of a restore; with `directory`, of one into files.
pub(super) fn document(report: &Report, directory: Option<&Path>) -> RestoreDocument {
    let totals = report.totals();
    RestoreDocument {
        state: report.outcome().name().to_owned(),
        dry_run: false,
        snapshot: report.snapshot.to_string(),
        tables: report.tables.iter().map(RestoreTable::from).collect(),
        totals: RestoreTotals {
            tables: totals.tables,
            parts: totals.parts,
            files: Some(totals.files),
            rows: totals.rows,
            bytes: totals.bytes,
            placed: Some(totals.placed.into()),
            failed: Some(totals.failed),
        },
        made: Some(report.made.clone()),
        access: Some(access_text::report_rows(&report.access)),
        notes: Some(report.notes.clone()),
        seconds: Some(report.seconds.clone()),
        path: directory.map(|directory| directory.to_string_lossy().into_owned()),
        path_base64: directory.and_then(path_base64),
        native: report.native.map(NativeRow::from),
        ..RestoreDocument::default()
    }
}

/// Restored tables, one per line.
pub(super) fn report(report: &Report, width: Width) -> String {
    let mut table = TextTable::new([
        name("TABLE"),
        left("STATE"),
        right("ROWS"),
        right("PARTS").dropped(2),
        right("CHECKED").dropped(1),
        right("SIZE"),
        left("PLACED").dropped(3),
    ]);
    let totals = report.totals();
    let mut text = String::new();
    if report.outcome() == RestoreOutcome::NothingToDo {
        writeln!(text, "nothing to do: everything is as in {}", report.snapshot).expect(WRITABLE);
        return text;
    }
    for made in &report.made {
        writeln!(text, "made {}", render::safe(made, 200)).expect(WRITABLE);
    }
    text.push_str(&access_text::report(&report.access));
    for restored in &report.tables {
        let (cells, notes) = row(restored);
        table.add_with_notes(cells, notes);
    }
    let mut text = layout::prose(&text, width) + &table.render(width);
    for statement in report.tables.iter().flat_map(|table| &table.ttl_statements) {
        writeln!(text, "to bring back its TTL: {}", render::safe(statement, 2000)).expect(WRITABLE);
    }
    let line = format!(
        "{} of {}: {}, {}, {} in {:.1} s\n",
        render::count(totals.tables, "table"),
        report.snapshot,
        render::count(totals.rows, "row"),
        render::count(totals.parts, "part"),
        render::bytes(totals.bytes),
        report.seconds.get("total").copied().unwrap_or(0.0),
    );
    text + &layout::prose(&line, width)
}

/// The outcome for a table, and the notes on it.
fn row(table: &TableReport) -> (Vec<String>, Vec<String>) {
    let state = match table.state {
        RestoredState::Restored => "restored",
        RestoredState::Replaced => "replaced",
        RestoredState::Attached => "attached",
        RestoredState::Created => "created",
        RestoredState::Present => "exists",
        RestoredState::Fetched => "FETCHED",
        RestoredState::Waiting => "WAITS",
        RestoredState::Skipped => "not made",
        RestoredState::Incomplete => "FEWER ROWS",
        RestoredState::Failed => "FAILED",
    };
    let has_data = table.state.has_data() || table.state == RestoredState::Fetched;
    let figure = |text: String| if has_data { text } else { String::new() };
    let placed = &table.placed;
    let ways = [(placed.linked, "linked"), (placed.reflinked, "reflinked"), (placed.copied, "copied")];
    let ways: Vec<String> = ways
        .iter()
        .filter(|(tally, _)| tally.parts > 0)
        .map(|(tally, how)| format!("{} {how}", render::thousands(tally.parts)))
        .collect();
    let mut notes: Vec<String> = Vec::new();
    if table.is_detached {
        notes.push("detached, as it was".to_owned());
    }
    if table.name() != table.from {
        notes.push(format!("was {}", table.from));
    }
    if table.uuid_changed {
        notes.push("new UUID".to_owned());
    }
    if table.merged_parts > 0 {
        notes.push(format!("{} merged already", render::count(table.merged_parts, "part")));
    }
    if let Some(replaced) = &table.replaced_table {
        notes.push(format!("the replaced table is now {replaced}"));
    }
    if table.expired_rows > 0 {
        let rows = render::count(table.expired_rows, "row");
        notes.push(format!("lacks {rows} of the snapshot, past its TTL; --hold-ttl brings them back without it"));
    }
    if !table.made_on_hosts.is_empty() {
        notes.push(format!("made on {}", table.made_on_hosts.join(", ")));
    }
    notes.extend(table.reason.as_ref().map(ToString::to_string));
    if let Some(replica) = &table.replica {
        notes.push(format!("{} of {} replicas active", replica.active_replicas, replica.total_replicas));
    }
    let cells = vec![
        render::safe(&table.name().to_string(), 400),
        state.to_owned(),
        figure(render::thousands(table.rows)),
        figure(render::thousands(table.parts)),
        figure(render::thousands(table.verified_parts)),
        figure(render::bytes(table.bytes)),
        ways.join(", "),
    ];
    (cells, notes.iter().map(|note| render::safe(note, 500)).collect())
}
