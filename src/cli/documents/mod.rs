//! The documents of `--json`, and the schemas that are made from them.
//!
//! One schema has one shape: every key is always there, and is null if there is no value. `docs/schema/` has the
//! schemas of all typed documents; `chsnap schema DIR` writes them.

mod config;
mod copy;
mod create;
mod diff;
mod health;
mod import;
mod progress;
mod prune;
mod remote;
pub(super) mod report;
mod restore;
mod run;
mod show;
mod usage;
mod verify;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use chsnap::model::{Level, SnapshotId, Warning};
use chsnap::ops::Drill;
use chsnap::repo::{HolderState, LastCheck, LockHolder, Pin};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(super) use config::{ConfigDocument, ConfigInitDocument, SettingRow, SystemdDocument};
pub(super) use copy::{CopiedCounts, CopiedRow, CopyDamage, CopyDocument, CopyIntact};
pub(super) use create::{CreateDocument, PlannedDump, PlannedTable};
pub(super) use diff::{DiffDocument, DiffSideRow};
pub(super) use health::{DoctorDocument, MonitorDocument, MonitorProblem};
pub(super) use import::{ImportDocument, ImportSourceRow, ImportedTableRow};
pub(super) use progress::{ProgressAmounts, ProgressDocument};
pub(super) use prune::{
    CostRow, CostSeconds, JudgedRow, KeptRow, PruneDocument, RemovedRow, RuleRow, SimulateDocument, SimulatedRow,
    StaleRow,
};
pub(super) use remote::{
    ObjectLockRow, PullDocument, PushDocument, PushRow, RemoteCheckDocument, RemoteGcDocument, RemoteKeptRow,
    RemoteListDocument, RemotePruneDocument, RemoteRemovedRow, RemoteRmDocument, RemoteRow, RemoteUsageDocument,
    WrongObjectRow,
};
pub(super) use report::ReportDocument;
pub(super) use restore::{
    DamagedPartRow, DrillDigests, DrillDocument, DrillTotals, ExpiredRow, LossRow, NativeRow, NotRunRow, ObjectRow,
    ObstacleRow, PlacedFigures, PlacedRow, PlannedReplica, ReplacesRow, ReplicaHost, RestoreAccessRow, RestoreDocument,
    RestoreTable, RestoreTotals,
};
pub(super) use run::{MissedRow, RunDocument, StepRow};
pub(super) use show::{AccessStatements, ShowDocument, ShownTable};
pub(super) use usage::{
    ExactRow, ForeignShadowRow, FreedRow, GrowthRow, SpaceRow, TrashTotals, UsageDocument, UsageSnapshot, UsageTable,
    UsageTotals,
};
pub(super) use verify::{CheckedTotals, DamageRow, DriftRow, IntactRow, UnverifiableRow, VerifyDocument};

/// A document without the fields that every document has.
pub(super) trait Document: Serialize + JsonSchema {
    /// Its schema.
    const SCHEMA: &'static str;
    /// The fields that it has in addition to its own.
    const ENVELOPE: Envelope;

    /// Its schema, which is generated once per process, because progress prints many documents.
    fn schema() -> &'static Value;
}

/// The fields that a document has in addition to its own and `schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// None.
    Bare,
    /// For a command that may be refused: `state`, and `reason` and `hint`, which say why and what to do. All other
    /// fields are null then.
    Outcome,
    /// The same, and its warnings.
    OutcomeAndWarnings,
}

macro_rules! documents {
    ($($document:ty => $schema:literal, $frame:ident;)*) => {
        $(impl Document for $document {
            const SCHEMA: &'static str = $schema;
            const ENVELOPE: Envelope = Envelope::$frame;

            fn schema() -> &'static Value {
                static SCHEMA: OnceLock<Value> = OnceLock::new();
                SCHEMA.get_or_init(schema_of::<Self>)
            }
        })*

        /// Every schema by its name.
        pub(super) fn schemas() -> BTreeMap<&'static str, &'static Value> {
            BTreeMap::from([$(($schema, <$document>::schema())),*])
        }

        /// The schema of this name.
        fn schema(name: &str) -> Option<&'static Value> {
            match name {
                $($schema => Some(<$document>::schema()),)*
                _ => None,
            }
        }
    };
}

documents! {
    InitDocument => "chsnap.init.v1", Outcome;
    ListDocument => "chsnap.list.v1", OutcomeAndWarnings;
    ListAllDocument => "chsnap.list.v2", OutcomeAndWarnings;
    CreateDocument => "chsnap.create.v1", OutcomeAndWarnings;
    ShowDocument => "chsnap.show.v1", OutcomeAndWarnings;
    DiffDocument => "chsnap.diff.v1", OutcomeAndWarnings;
    UsageDocument => "chsnap.usage.v1", OutcomeAndWarnings;
    PruneDocument => "chsnap.prune.v1", OutcomeAndWarnings;
    SimulateDocument => "chsnap.simulate.v1", Outcome;
    VerifyDocument => "chsnap.verify.v1", OutcomeAndWarnings;
    RestoreDocument => "chsnap.restore.v1", OutcomeAndWarnings;
    DrillDocument => "chsnap.drill.v1", OutcomeAndWarnings;
    CopyDocument => "chsnap.copy.v1", OutcomeAndWarnings;
    ImportDocument => "chsnap.import.v1", OutcomeAndWarnings;
    RunDocument => "chsnap.run.v1", OutcomeAndWarnings;
    DoctorDocument => "chsnap.doctor.v1", Outcome;
    MonitorDocument => "chsnap.monitor.v1", Bare;
    ReportDocument => "chsnap.report.v1", OutcomeAndWarnings;
    ConfigDocument => "chsnap.config.v1", Outcome;
    ConfigInitDocument => "chsnap.config.v2", Outcome;
    SystemdDocument => "chsnap.systemd.v1", Outcome;
    ProgressDocument => "chsnap.progress.v1", Bare;
    RmDocument => "chsnap.rm.v1", OutcomeAndWarnings;
    UndoDocument => "chsnap.undo.v1", OutcomeAndWarnings;
    GcDocument => "chsnap.gc.v1", OutcomeAndWarnings;
    PinDocument => "chsnap.pin.v1", Outcome;
    UnpinDocument => "chsnap.unpin.v1", Outcome;
    UnlockDocument => "chsnap.unlock.v1", Outcome;
    ManDocument => "chsnap.man.v1", Outcome;
    CompletionsDocument => "chsnap.completions.v1", Outcome;
    SchemaDocument => "chsnap.schema.v1", Outcome;
    ErrorDocument => "chsnap.error.v1", Bare;
    PushDocument => "chsnap.push.v1", OutcomeAndWarnings;
    PullDocument => "chsnap.pull.v1", OutcomeAndWarnings;
    RemoteListDocument => "chsnap.remote-list.v1", OutcomeAndWarnings;
    RemoteUsageDocument => "chsnap.remote-usage.v1", OutcomeAndWarnings;
    RemoteCheckDocument => "chsnap.remote-check.v1", OutcomeAndWarnings;
    RemotePruneDocument => "chsnap.remote-prune.v1", OutcomeAndWarnings;
    RemoteRmDocument => "chsnap.remote-rm.v1", OutcomeAndWarnings;
    RemoteGcDocument => "chsnap.remote-gc.v1", OutcomeAndWarnings;
}

/// The state of a document that does not define its own.
const DONE: &str = "done";

/// The document as it is printed, with every key of its schema.
pub(super) fn value<T: Document>(document: &T, warnings: &[Warning]) -> Value {
    let mut fields = match serde_json::to_value(document) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    fields.insert("schema".to_owned(), T::SCHEMA.into());
    if T::ENVELOPE != Envelope::Bare {
        fields.entry("state").or_insert_with(|| DONE.into());
    }
    if T::ENVELOPE == Envelope::OutcomeAndWarnings {
        let sentences: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
        fields.insert("warnings".to_owned(), json!(sentences));
        fields.insert("warning_list".to_owned(), json!(warnings));
    }
    let mut document = Value::Object(fields);
    complete(&mut document, T::schema(), T::schema());
    document
}

/// The document of a command that was refused, or that found damage and stopped: all other fields are null.
///
/// `more` is a field of that document that is still known.
pub(super) fn refusal(
    name: &str,
    state: &str,
    reason: &str,
    hint: Option<&str>,
    more: Option<(&'static str, Value)>,
) -> Value {
    let mut fields = Map::new();
    let properties = schema(name).and_then(|schema| schema.get("properties"));
    for key in properties.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        let empty = if matches!(key.as_str(), "warnings" | "warning_list") { json!([]) } else { Value::Null };
        fields.insert(key.clone(), empty);
    }
    fields.insert("schema".to_owned(), name.into());
    fields.insert("state".to_owned(), state.into());
    fields.insert("reason".to_owned(), reason.into());
    fields.insert("hint".to_owned(), hint.into());
    fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(fields)
}

/// The target of a reference in a schema, or the schema itself.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// Whether a schema accepts this type.
fn takes(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(all)) => all.iter().any(|one| one == name),
        _ => alternatives(schema).any(|one| takes(one, name)),
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

/// Restores keys that were left out because they are empty: files on disk omit them, a document does not.
fn complete(value: &mut Value, schema: &Value, root: &Value) {
    let schema = resolved(schema, root);
    match value {
        Value::Object(fields) => {
            for one in alternatives(schema).map(|one| resolved(one, root)) {
                complete_fields(fields, one, root);
            }
            complete_fields(fields, schema, root);
        }
        Value::Array(items) => {
            let alternatives = alternatives(schema).map(|one| resolved(one, root));
            let of_items = std::iter::once(schema).chain(alternatives).find_map(|one| one.get("items"));
            let Some(of_items) = of_items else { return };
            for item in items {
                complete(item, of_items, root);
            }
        }
        _ => {}
    }
}

fn complete_fields(fields: &mut Map<String, Value>, schema: &Value, root: &Value) {
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        match fields.get_mut(name) {
            Some(value) => complete(value, schema, root),
            None => {
                fields.insert(name.clone(), absent(resolved(schema, root)));
            }
        }
    }
}

/// The value for a key that was left out.
fn absent(schema: &Value) -> Value {
    match () {
        () if takes(schema, "null") => Value::Null,
        () if takes(schema, "array") => json!([]),
        () if takes(schema, "boolean") => false.into(),
        () if takes(schema, "integer") => 0.into(),
        () if takes(schema, "object") => json!({}),
        () if takes(schema, "string") => "".into(),
        () => Value::Null,
    }
}

/// The same schema, which also accepts null.
fn nullable(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let Some(keywords) = schema.as_object_mut() else { return schema };
    if let Some(names) = keywords.get_mut("type") {
        let mut all = names.as_array().cloned().unwrap_or_else(|| vec![names.clone()]);
        if !all.contains(&json!("null")) {
            all.push("null".into());
        }
        *names = all.into();
        if let Some(Value::Array(words)) = keywords.get_mut("enum")
            && !words.contains(&Value::Null)
        {
            words.push(Value::Null);
        }
        return schema;
    }
    if let Some(Value::Array(all)) = keywords.get_mut("anyOf") {
        if !all.contains(&json!({"type": "null"})) {
            all.push(json!({"type": "null"}));
        }
        return schema;
    }
    if !keywords.contains_key("$ref") && !keywords.contains_key("oneOf") {
        return schema;
    }
    let description = keywords.remove("description");
    let mut wrapped = json!({"anyOf": [schema, {"type": "null"}]});
    if let (Some(description), Some(keywords)) = (description, wrapped.as_object_mut()) {
        keywords.insert("description".to_owned(), description);
    }
    wrapped
}

fn schema_of<T: Document>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    let empty = Map::new();
    let own = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut properties: Map<String, Value> = match T::ENVELOPE {
        Envelope::Bare => own.clone(),
        Envelope::Outcome | Envelope::OutcomeAndWarnings => {
            own.iter().map(|(name, schema)| (name.clone(), nullable(schema))).collect()
        }
    };
    properties.insert("schema".to_owned(), json!({"const": T::SCHEMA}));
    if T::ENVELOPE != Envelope::Bare {
        let text = |text: &str| json!({"type": ["string", "null"], "description": text});
        let states = "`done`; `refused` or `damaged` if nothing was done; then all other fields are null.";
        let state = || json!({"type": "string", "description": states});
        // The document's own state is never null.
        let own = own.get("state").cloned();
        properties.insert("state".to_owned(), own.unwrap_or_else(state));
        properties.entry("reason").or_insert_with(|| text("Why it was refused, or the damage."));
        properties.entry("hint").or_insert_with(|| text("What to do about that."));
    }
    if T::ENVELOPE == Envelope::OutcomeAndWarnings {
        let sentences =
            json!({"type": "array", "items": {"type": "string"}, "description": "The warnings as sentences."});
        properties.insert("warnings".to_owned(), sentences);
        properties.insert("warning_list".to_owned(), warning_list());
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("properties".to_owned(), properties.into());
        fields.insert("title".to_owned(), T::SCHEMA.into());
        fields.insert("$id".to_owned(), format!("{}.json", T::SCHEMA).into());
    }
    require_all(&mut schema);
    schema
}

fn warning_list() -> Value {
    json!({
        "description": "The same warnings, each with its stable kind and its table.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "kind": {"type": "string"}, "message": {"type": "string"}, "table": {"type": ["string", "null"]},
            },
            "required": ["kind", "message", "table"],
        },
    })
}

/// Marks every property of every object as required: see [`complete`].
fn require_all(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            if let Some(Value::Object(properties)) = keywords.get("properties") {
                let names: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
                keywords.insert("required".to_owned(), names.into());
            }
            keywords.values_mut().for_each(require_all);
        }
        Value::Array(all) => all.iter_mut().for_each(require_all),
        _ => {}
    }
}

/// The repository that `init` made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct InitDocument {
    /// The repository's directory.
    pub(super) repository: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(super) repository_base64: Option<String>,
    /// The repository's id.
    pub(super) id: String,
    /// The version of its format.
    pub(super) format: u32,
}

/// Why a snapshot is kept whatever the rules say.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PinRow {
    /// The reason given.
    pub(super) reason: String,
    /// The time since which it holds.
    pub(super) since: DateTime<Utc>,
    /// Until when; null if it has no end.
    pub(super) until: Option<DateTime<Utc>>,
}

impl From<&Pin> for PinRow {
    fn from(pin: &Pin) -> Self {
        Self { reason: pin.reason.clone(), since: pin.since, until: pin.until }
    }
}

/// When a snapshot was last verified.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct VerifiedRow {
    /// The level of the newest complete check: structure, size or data.
    pub(super) level: Option<String>,
    /// The time of that check.
    pub(super) time: Option<DateTime<Utc>>,
    /// The time since which every byte has been read.
    pub(super) data_time: Option<DateTime<Utc>>,
    /// The time at which any of its bytes were last read.
    pub(super) any_data_time: Option<DateTime<Utc>>,
    /// The newest slice, `2/7`, while a round of slices is not finished.
    pub(super) slice: Option<String>,
    /// Whether damage was found, and no later check found it gone.
    pub(super) damaged: bool,
    /// Whether owners or modes were found that differ from the record.
    pub(super) drifted: bool,
}

impl VerifiedRow {
    /// `None` if the snapshot was never verified.
    pub(super) fn of(check: &LastCheck) -> Option<Self> {
        (*check != LastCheck::default()).then(|| Self {
            level: check.level.map(|level: Level| level.to_string()),
            time: check.time,
            data_time: check.data_time,
            any_data_time: check.any_data_time,
            slice: check.slice.map(|slice| slice.to_string()),
            damaged: check.damaged,
            drifted: check.drifted,
        })
    }
}

/// The last drill of a snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrilledRow {
    /// The time.
    pub(super) time: DateTime<Utc>,
    /// The number of tables that were tried.
    pub(super) tables: u64,
    /// The number of tables with data in the snapshot.
    pub(super) of_tables: u64,
    /// The number of restored tables that differ from the snapshot.
    pub(super) failed: u64,
    /// Rows that were read.
    pub(super) rows: u64,
    /// Parts whose digests equal the recorded ones.
    pub(super) digests: u64,
}

impl From<&Drill> for DrilledRow {
    fn from(drill: &Drill) -> Self {
        let Drill { time, tables, of_tables, failed, rows, digests, .. } = *drill;
        Self { time, tables, of_tables, failed, rows, digests }
    }
}

/// The common moment of all tables of a snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MomentRow {
    /// Whether nothing changed from `from` to `to`.
    pub(super) exact: bool,
    /// Its beginning.
    pub(super) from: DateTime<Utc>,
    /// Its end.
    pub(super) to: DateTime<Utc>,
}

/// A snapshot in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SnapshotRow {
    /// Its id.
    pub(super) id: String,
    /// The repository that has it; null in a list of one repository.
    pub(super) repository: Option<String>,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(super) repository_base64: Option<String>,
    /// Its position in the order in which snapshots were made; null if its manifest cannot be read.
    pub(super) sequence: Option<u64>,
    /// When it was begun.
    pub(super) time: DateTime<Utc>,
    /// Its name.
    pub(super) name: Option<String>,
    /// The bytes of the name in base64, if it is not UTF-8.
    pub(super) name_base64: Option<String>,
    /// The common moment of its tables, if one was requested.
    pub(super) moment: Option<MomentRow>,
    /// `complete`, `newer_format` or `damaged`.
    pub(super) state: String,
    /// Its problem.
    pub(super) problem: Option<String>,
    /// The number of tables whose parts are in the snapshot.
    pub(super) tables: u64,
    /// Parts.
    pub(super) parts: u64,
    /// Files.
    pub(super) files: u64,
    /// Sum of the sizes of its files: what a restore needs.
    pub(super) apparent_bytes: u64,
    /// Bytes that its files take on the disk.
    pub(super) allocated_bytes: u64,
    /// Bytes on the disk that the previous snapshot did not have when this one was made.
    pub(super) written_bytes: u64,
    /// Its series; null if its manifest cannot be read.
    pub(super) series: Option<String>,
    /// How its series is shown; null for the main one.
    pub(super) series_label: Option<String>,
    /// Whether it lacks a table that it could have had.
    pub(super) incomplete: bool,
    /// The number of warnings when it was made.
    pub(super) warning_count: u64,
    /// The version of its server.
    pub(super) server_version: String,
    /// Whether it is pinned now.
    pub(super) pinned: bool,
    /// Its pin.
    pub(super) pin: Option<PinRow>,
    /// When it was last verified; null if it never was.
    pub(super) verified: Option<VerifiedRow>,
    /// Its last drill.
    pub(super) drilled: Option<DrilledRow>,
}

/// A snapshot in the trash.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TrashRow {
    /// Its id.
    pub(super) id: String,
    /// Its name.
    pub(super) name: Option<String>,
    /// When it was removed.
    pub(super) removed: DateTime<Utc>,
    /// The command that removed it, if the journal has it.
    pub(super) by: Option<String>,
    /// The reason.
    pub(super) why: Option<String>,
    /// Bytes that unlinking only this snapshot frees.
    pub(super) freed_bytes: u64,
}

/// `list` and `list --trash`: the list that was not requested is null.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct ListDocument {
    /// The repository's directory.
    pub(super) repository: Option<String>,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(super) repository_base64: Option<String>,
    /// The main series.
    pub(super) main_series: Option<String>,
    /// The snapshots, in the order in which they were made.
    pub(super) snapshots: Option<Vec<SnapshotRow>>,
    /// The ids of the snapshots in the trash.
    pub(super) removed: Option<Vec<String>>,
    /// With `--trash`: the snapshots in it, the oldest removal first.
    pub(super) trash: Option<Vec<TrashRow>>,
    /// With `--trash`: bytes that unlinking all of them frees.
    pub(super) freed_bytes: Option<u64>,
}

/// A repository in `list --all`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct RepositoryRow {
    /// Its directory.
    pub(super) repository: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(super) repository_base64: Option<String>,
    /// `ok` or `broken`.
    pub(super) state: String,
    /// Its problem.
    pub(super) problem: Option<String>,
    /// Its id.
    pub(super) id: Option<String>,
    /// The server that it belongs to.
    pub(super) server: Option<ServerRow>,
    /// The number of its snapshots.
    pub(super) snapshot_count: Option<u64>,
    /// The number of snapshots in its trash.
    pub(super) removed_count: Option<u64>,
    /// The time at which the newest complete snapshot of the main series was begun.
    pub(super) newest: Option<DateTime<Utc>>,
    /// Sum of the bytes that were new in each snapshot.
    pub(super) written_bytes: Option<u64>,
    /// Its cost: bytes that would be free without it.
    pub(super) cost_bytes: Option<u64>,
    /// Bytes that it shares with its server.
    pub(super) live_shared_bytes: Option<u64>,
    /// Bytes that emptying its trash frees.
    pub(super) trash_bytes: Option<u64>,
    /// Free bytes of its filesystem.
    pub(super) filesystem_free_bytes: Option<u64>,
}

/// A server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ServerRow {
    /// Its data directory.
    pub(super) data_path: String,
    /// Its UUID, if it has one.
    pub(super) uuid: Option<String>,
}

/// Sums over repositories.
#[expect(clippy::struct_field_names, reason = "the names are those of the document")]
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct AllTotals {
    /// Their cost in bytes.
    pub(super) cost_bytes: u64,
    /// Bytes that they share with their servers.
    pub(super) live_shared_bytes: u64,
    /// Bytes that emptying their trash frees.
    pub(super) trash_bytes: u64,
}

/// `list --all`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListAllDocument {
    /// The directory below which repositories were searched.
    pub(super) directory: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(super) directory_base64: Option<String>,
    /// The repositories.
    pub(super) repositories: Vec<RepositoryRow>,
    /// Their snapshots.
    pub(super) snapshots: Vec<SnapshotRow>,
    /// Sums over the repositories that can be read.
    pub(super) totals: AllTotals,
}

/// `rm`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RmDocument {
    /// `removed` or `dry_run`.
    pub(super) state: String,
    /// The snapshots that were moved to the trash, or would be.
    pub(super) removed: Vec<String>,
    /// With `--dry-run`: bytes that this frees once `gc` has run.
    pub(super) freed_bytes: Option<u64>,
    /// With `--dry-run`: the same, including everything already in the trash.
    pub(super) freed_with_trash_bytes: Option<u64>,
}

/// `undo` and `undo --list`: the fields of the other one are null.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct UndoDocument {
    /// Snapshots that were brought back.
    pub(super) restored: Option<Vec<String>>,
    /// Snapshots that are still in the trash.
    pub(super) remaining: Option<Vec<String>>,
    /// With `--list`: the snapshots in the trash.
    pub(super) trash: Option<Vec<TrashRow>>,
    /// With `--list`: bytes that unlinking all of them frees.
    pub(super) freed_bytes: Option<u64>,
}

/// `gc`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GcDocument {
    /// `removed` or `dry_run`.
    pub(super) state: String,
    /// Snapshots that were deleted, or would be.
    pub(super) removed: Vec<String>,
    /// Snapshots that stay in the trash because they were removed too recently.
    pub(super) spared: Vec<String>,
    /// Files that were unlinked; null with `--dry-run`.
    pub(super) files: Option<u64>,
    /// Directories that were removed; null with `--dry-run`.
    pub(super) directories: Option<u64>,
    /// The bytes that only the deleted snapshots had, or the growth of the filesystem's free space if that is more; with
    /// `--dry-run` the bytes that would be freed, null if only some of the snapshots are deleted.
    pub(super) freed_bytes: Option<u64>,
}

/// `pin`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PinDocument {
    /// The snapshot.
    pub(super) id: String,
    /// Its pin.
    pub(super) pin: PinRow,
    /// The previous pin.
    pub(super) replaced: Option<PinRow>,
}

/// `unpin`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UnpinDocument {
    /// Snapshots that are no longer pinned.
    pub(super) unpinned: Vec<String>,
    /// Snapshots that were not pinned.
    pub(super) not_pinned: Vec<String>,
}

/// The holder of the lock.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HolderRow {
    /// Its host.
    pub(super) host: String,
    /// Its process.
    pub(super) pid: u32,
    /// The time since which it holds.
    pub(super) since: DateTime<Utc>,
    /// The command that it runs.
    pub(super) command: String,
    /// `runs`, `gone` or `elsewhere`.
    pub(super) is: String,
}

impl HolderRow {
    pub(super) fn new(holder: &LockHolder, state: HolderState) -> Self {
        let is = match state {
            HolderState::Runs => "runs",
            HolderState::Gone => "gone",
            HolderState::Elsewhere => "elsewhere",
        };
        Self {
            host: holder.host.clone(),
            pid: holder.pid,
            since: holder.since,
            command: holder.command.clone(),
            is: is.to_owned(),
        }
    }
}

/// `unlock`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UnlockDocument {
    /// `free`, `held` or `broken`.
    pub(super) state: String,
    /// The current or last holder of the lock.
    pub(super) holder: Option<HolderRow>,
}

/// `man`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct ManDocument {
    /// The files that were written; none without a directory.
    pub(super) pages: Vec<String>,
    /// Without a directory: the program's own page, in roff.
    pub(super) page: Option<String>,
}

/// `completions`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CompletionsDocument {
    /// The shell.
    pub(super) shell: String,
    /// The script that it reads.
    pub(super) script: String,
}

/// `schema`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SchemaDocument {
    /// The files that were written.
    pub(super) files: Vec<String>,
}

/// The document on stderr when a command fails with an exit code other than 0, 3, 12 and 13.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ErrorDocument {
    /// The action that failed.
    pub(super) error: String,
    /// Why, the outermost cause first.
    pub(super) causes: Vec<String>,
    /// How to resolve it.
    pub(super) hint: Option<String>,
    /// The exit code.
    pub(super) exit_code: u8,
    /// The run that ended with this error; null for other commands.
    pub(super) run: Option<Value>,
    /// The damage; null if there is none.
    pub(super) damage: Option<Value>,
    /// For `copy`: the snapshots that were copied before it failed, as in its own document; null for other commands.
    pub(super) snapshots: Option<Value>,
}

/// The ids as texts.
pub(super) fn texts(ids: &[SnapshotId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
