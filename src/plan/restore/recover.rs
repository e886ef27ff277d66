//! Plans the recovery of what interrupted restores left.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{SnapshotId, TableName, TableUuid, escape_for_file_name};
use crate::plan::{AccessOptions, BegunAccess};

use super::hold::{HeldSetting, released};
use super::target::{TargetServer, TargetTable};

/// A table that a restore attaches, as recorded in its intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreEntry {
    /// The name that it is attached under.
    pub name: TableName,
    /// Its UUID, in databases whose tables have UUIDs.
    pub uuid: Option<TableUuid>,
    /// The places of its directory: each a disk and a path below it.
    pub places: Vec<(String, PathBuf)>,
    /// Whether it exists only until its contents have been moved to their place.
    pub is_temporary: bool,
    /// The table that it replaces, if it replaces one.
    pub replaces: Option<TableName>,
    /// The UUID of the table that it replaces.
    #[serde(default)]
    pub replaces_uuid: Option<TableUuid>,
    /// The name of the replaced table afterwards, if names cannot be exchanged.
    pub old_name: Option<TableName>,
    /// Whether to keep the replaced table, under the name that it then has.
    pub keeps_old: bool,
    /// The state of the replaced table ([`TargetTable::state`](super::TargetTable::state)) that the person agreed to
    /// lose; `None` if no agreement was needed.
    #[serde(default)]
    pub agreed_state: Option<String>,
    /// Settings that hold it until it is compared.
    #[serde(default)]
    pub held: Vec<HeldSetting>,
    /// Whether it is created empty and then gets its partitions one after the other. Each partition that it has is
    /// complete.
    #[serde(default)]
    pub is_filled: bool,
    /// For an inner table: the UUID of the view that it was made for and that replaces another one. Without that view it
    /// is a copy that nothing refers to.
    #[serde(default)]
    pub of_view: Option<TableUuid>,
}

/// The longest table name before a suffix is added: the name of the definition's file is limited.
const NAME_LIMIT_BYTES: usize = 180;

const KEPT: &str = "_replaced_";

/// The name of a replaced table that is kept: `<table>_replaced_<UTC digits>`, with the table's name truncated to fit.
/// `directory` is the staging directory of the restore.
#[must_use]
pub fn kept_name(table: &TableName, directory: &str) -> TableName {
    let digits = directory.rsplit('_').nth(1).unwrap_or_default();
    let mut name = table.table.clone();
    while escape_for_file_name(&name).len() > NAME_LIMIT_BYTES {
        name.pop();
    }
    TableName::new(table.database.clone(), format!("{name}{KEPT}{digits}"))
}

/// Whether a name is of the form that [`kept_name`] gives to this table.
#[must_use]
pub fn is_kept_name(kept: &TableName, table: &TableName) -> bool {
    let Some((name, digits)) = kept.table.rsplit_once(KEPT) else { return false };
    let is_whole = name == table.table;
    let is_cut = table.table.starts_with(name) && escape_for_file_name(&table.table).len() > NAME_LIMIT_BYTES;
    let is_time = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit());
    kept.database == table.database && is_time && (is_whole || is_cut)
}

impl RestoreEntry {
    /// A temporary table whose directory the server creates.
    #[must_use]
    pub fn helper(name: TableName) -> Self {
        Self {
            name,
            uuid: None,
            places: Vec::new(),
            is_temporary: true,
            replaces: None,
            replaces_uuid: None,
            old_name: None,
            keeps_old: false,
            agreed_state: None,
            held: Vec::new(),
            is_filled: false,
            of_view: None,
        }
    }

    /// A table that gets its partitions one after the other.
    #[must_use]
    pub fn filled(name: TableName, uuid: Option<TableUuid>) -> Self {
        Self { uuid, is_temporary: false, is_filled: true, ..Self::helper(name) }
    }

    /// Whether a path is `store/<3 digits>/<its UUID>` or `data/<database>/<table>`. No other path in an intent is
    /// followed.
    #[must_use]
    pub fn is_own_directory(&self, path: &Path) -> bool {
        let parts: Option<Vec<&str>> = path
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        match parts.as_deref() {
            Some(["store", prefix, name]) => self
                .uuid
                .as_ref()
                .is_some_and(|uuid| *name == uuid.as_str() && prefix.len() == 3 && uuid.as_str().starts_with(prefix)),
            Some(["data", database, table]) => {
                *database == escape_for_file_name(&self.name.database)
                    && *table == escape_for_file_name(&self.name.table)
            }
            _ => false,
        }
    }
}

/// Whether the server knows the directory at a table's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// The directory does not exist.
    Absent,
    /// No record of the server refers to it: nothing can ever attach it.
    Unknown,
    /// It belongs to a table: attached, detached or dropped.
    Known,
    /// One of the records that would show this cannot be read, for this reason.
    Unclear(String),
}

/// The directory of an entry on one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceEvidence {
    /// The disk.
    pub disk: String,
    /// The path below it.
    pub path: PathBuf,
    /// Whether the server knows it.
    pub knowledge: Knowledge,
}

/// An entry of an intent, with the evidence on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryEvidence {
    /// The entry.
    pub entry: RestoreEntry,
    /// Its directories.
    pub places: Vec<PlaceEvidence>,
    /// Whether the server knows the view of which it is the inner table, if its entry names one.
    pub view: Option<Knowledge>,
}

/// The contents of an interrupted restore's staging directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftoverContent {
    /// No intent: the restore was cut short before it did anything else.
    NoIntent,
    /// An intent that cannot be read, for this reason.
    Unreadable(String),
    /// An intent, which names what the restore was about to do.
    Intent {
        /// The snapshot that it restored.
        snapshot: SnapshotId,
        /// The tables.
        entries: Vec<EntryEvidence>,
        /// Users, roles … that it was creating.
        access: Vec<BegunAccess>,
    },
}

/// The staging directory of an interrupted restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagingLeftover {
    /// Its name, on every disk that has one.
    pub directory: String,
    /// Its contents.
    pub content: LeftoverContent,
}

/// Why recovery drops a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporary {
    /// The interrupted restore created it as an intermediate table.
    Helper,
    /// The interrupted restore had replaced it by another table, as requested.
    Replaced,
}

/// One step of recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Renames a table: back to its own name, which it lost in the middle of an exchange, or to the name of a kept
    /// replaced table.
    Rename {
        /// Its temporary name.
        from: TableName,
        /// Its new name.
        to: TableName,
        /// The staging directory of the restore that first renamed it.
        directory: String,
    },
    /// Restores a table's own settings, under which it merges.
    Release {
        /// The table.
        name: TableName,
        /// The settings that hold it.
        held: Vec<HeldSetting>,
        /// The staging directory of the restore that held it.
        directory: String,
    },
    /// Drops a temporary table.
    DropTable {
        /// Its name.
        name: TableName,
        /// Its UUID, which it must still have.
        uuid: Option<TableUuid>,
        /// Why it is temporary.
        role: Temporary,
        /// The possible losses with it.
        may_lose: MayLose,
        /// Its new name if it holds more than that.
        kept_name: Option<TableName>,
        /// The staging directory of the restore that left it.
        directory: String,
    },
    /// Lets this restore continue filling a table. Its partitions at that time are read again then.
    Resume {
        /// The table.
        name: TableName,
        /// The staging directory of the restore that was filling it, whose note stays until it is complete.
        directory: String,
    },
    /// Lets this restore add the grants that users, roles … may lack.
    ResumeAccess {
        /// The users, roles ….
        begun: Vec<BegunAccess>,
        /// The staging directory of the restore that was creating them, whose note stays until they are complete.
        directory: String,
    },
    /// Removes a directory that never became a table, if still no record of the server refers to it.
    RemovePlace {
        /// The entry that it belongs to.
        entry: RestoreEntry,
        /// The disk.
        disk: String,
        /// The path below it.
        path: PathBuf,
    },
    /// Removes the files placed in a staging directory, and leaves its intent.
    EmptyDirectory {
        /// The directory.
        directory: String,
    },
    /// Removes a staging directory with its intent.
    RemoveDirectory {
        /// The directory.
        directory: String,
    },
    /// Leaves something as it is, for this reason.
    Keep {
        /// The table or directory.
        object: String,
        /// The reason.
        reason: String,
    },
}

impl RecoveryStep {
    /// The staging directory that a step belongs to, if it has one.
    #[must_use]
    pub fn directory(&self) -> Option<&str> {
        match self {
            Self::Rename { directory, .. }
            | Self::Release { directory, .. }
            | Self::DropTable { directory, .. }
            | Self::Resume { directory, .. }
            | Self::ResumeAccess { directory, .. }
            | Self::EmptyDirectory { directory }
            | Self::RemoveDirectory { directory } => Some(directory),
            Self::RemovePlace { .. } | Self::Keep { .. } => None,
        }
    }
}

impl fmt::Display for RecoveryStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { from, to, .. } => write!(f, "rename {from} to {to}"),
            Self::Release { name, .. } => write!(f, "let {name} merge again"),
            Self::DropTable { name, role: Temporary::Helper, .. } => write!(f, "drop the temporary table {name}"),
            Self::DropTable { name, role: Temporary::Replaced, .. } => {
                write!(f, "drop {name}, the table that the interrupted restore replaced")
            }
            Self::Resume { name, .. } => write!(f, "{name} may be incomplete: it was being filled"),
            Self::ResumeAccess { begun, .. } => {
                write!(f, "{} may lack grants: an interrupted restore was making them", names(begun))
            }
            Self::RemovePlace { entry, disk, path } => {
                write!(f, "remove {} on disk {disk}, which never became the table {}", path.display(), entry.name)
            }
            Self::EmptyDirectory { directory } => write!(f, "empty the staging directory {directory}"),
            Self::RemoveDirectory { directory } => write!(f, "remove the staging directory {directory}"),
            Self::Keep { object, reason } => write!(f, "leave {object}: {reason}"),
        }
    }
}

fn names(begun: &[BegunAccess]) -> String {
    begun.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Plans the recovery of leftovers on a server with these tables, by a restore that treats users and roles in this way.
/// Anything that does not provably belong to a restore stays.
#[must_use]
pub fn plan_recovery(
    leftovers: &[StagingLeftover],
    tables: &BTreeMap<TableName, Option<TableUuid>>,
    access: AccessOptions,
) -> Vec<RecoveryStep> {
    leftovers.iter().flat_map(|leftover| steps_of(leftover, tables, access)).collect()
}

fn steps_of(
    leftover: &StagingLeftover,
    tables: &BTreeMap<TableName, Option<TableUuid>>,
    access: AccessOptions,
) -> Vec<RecoveryStep> {
    let directory = leftover.directory.clone();
    let (entries, begun) = match &leftover.content {
        LeftoverContent::NoIntent => return vec![RecoveryStep::RemoveDirectory { directory }],
        LeftoverContent::Unreadable(reason) => {
            return vec![RecoveryStep::Keep { object: directory, reason: reason.clone() }];
        }
        LeftoverContent::Intent { entries, access, .. } => (entries, access),
    };
    let of_entry = |evidence: &EntryEvidence| {
        if evidence.entry.is_filled {
            resume(&evidence.entry, &directory, tables).into_iter().collect()
        } else {
            steps_of_entry(evidence, &directory, tables)
        }
    };
    let mut steps: Vec<RecoveryStep> = entries.iter().flat_map(of_entry).collect();
    if !begun.is_empty() {
        steps.push(if access.makes() {
            RecoveryStep::ResumeAccess { begun: begun.clone(), directory: directory.clone() }
        } else {
            let reason = "it may lack grants, which restore --access missing gives it".to_owned();
            RecoveryStep::Keep { object: names(begun), reason }
        });
    }
    let keeps = steps.iter().any(|step| {
        matches!(step, RecoveryStep::Keep { .. } | RecoveryStep::Resume { .. } | RecoveryStep::ResumeAccess { .. })
    });
    steps.push(if keeps {
        RecoveryStep::EmptyDirectory { directory }
    } else {
        RecoveryStep::RemoveDirectory { directory }
    });
    steps
}

/// The data that may be lost with a temporary table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayLose {
    /// All: it is a copy of the snapshot's data.
    Everything,
    /// This state: it replaced a table in this state, and the person agreed to that.
    State(String),
    /// None: it replaced an empty table.
    Nothing,
}

fn release(name: &TableName, entry: &RestoreEntry, directory: &str) -> Option<RecoveryStep> {
    let step =
        || RecoveryStep::Release { name: name.clone(), held: entry.held.clone(), directory: directory.to_owned() };
    (!entry.held.is_empty()).then(step)
}

/// The step for a directory of an entry whose table is not attached.
fn step_of_place(entry: &RestoreEntry, place: &PlaceEvidence) -> Option<RecoveryStep> {
    let keep_place = |reason: &str| {
        let object = format!("{} on disk {}", place.path.display(), place.disk);
        RecoveryStep::Keep { object, reason: reason.to_owned() }
    };
    match &place.knowledge {
        // It was detached before its release: the note stays until it can be released.
        Knowledge::Known if !entry.is_temporary && !entry.held.is_empty() => {
            Some(keep(&entry.name, "it is detached, and its merges are held until a restore after its ATTACH"))
        }
        Knowledge::Absent | Knowledge::Known => None,
        _ if !entry.is_own_directory(&place.path) => Some(keep_place("it is not the place of a table")),
        Knowledge::Unknown => {
            Some(RecoveryStep::RemovePlace { entry: entry.clone(), disk: place.disk.clone(), path: place.path.clone() })
        }
        Knowledge::Unclear(reason) => Some(keep_place(reason)),
    }
}

fn keep(object: &TableName, reason: &str) -> RecoveryStep {
    RecoveryStep::Keep { object: object.to_string(), reason: reason.to_owned() }
}

/// The step for a table that was being filled, if it exists: a renamed table is left to the person who renamed it.
fn resume(
    entry: &RestoreEntry,
    directory: &str,
    tables: &BTreeMap<TableName, Option<TableUuid>>,
) -> Option<RecoveryStep> {
    // A database of the engine Replicated has assigned a UUID that the note does not contain. The partitions that it
    // has stay in any case.
    let is_it = |uuid: &Option<TableUuid>| entry.uuid.is_none() || *uuid == entry.uuid;
    let is_there = tables.get(&entry.name).is_some_and(is_it);
    is_there.then(|| RecoveryStep::Resume { name: entry.name.clone(), directory: directory.to_owned() })
}

fn steps_of_entry(
    evidence: &EntryEvidence,
    directory: &str,
    tables: &BTreeMap<TableName, Option<TableUuid>>,
) -> Vec<RecoveryStep> {
    let entry = &evidence.entry;
    let mut steps = Vec::new();
    let drop_table = |name: &TableName, uuid: Option<&TableUuid>, role: Temporary| RecoveryStep::DropTable {
        name: name.clone(),
        uuid: uuid.cloned(),
        role,
        may_lose: match (role, &entry.agreed_state) {
            (Temporary::Replaced, None) => MayLose::Nothing,
            (Temporary::Replaced, Some(state)) => MayLose::State(state.clone()),
            _ => MayLose::Everything,
        },
        kept_name: entry.replaces.as_ref().map(|target| kept_name(target, directory)),
        directory: directory.to_owned(),
    };
    let keep_as = |name: &TableName, target: &TableName| RecoveryStep::Rename {
        from: name.clone(),
        to: kept_name(target, directory),
        directory: directory.to_owned(),
    };
    let there = |name: &TableName| tables.get(name);
    let is_own = there(&entry.name) == Some(&entry.uuid);
    // The present name of the table: people rename and exchange tables.
    let by_uuid = || tables.iter().find(|(_, uuid)| **uuid == entry.uuid).map(|(name, _)| name);
    let now = entry.uuid.as_ref().and_then(|_| by_uuid());
    let has_other_name = now.filter(|now| **now != entry.name);
    if entry.is_temporary {
        // After an exchange the restored table has the name of the one that it replaced, or a name that it got later.
        if let Some(now) = has_other_name {
            steps.extend(release(now, entry, directory));
        }
        if let Some(old) = entry.old_name.as_ref().filter(|old| there(old).is_some()) {
            // The names were exchanged in two steps.
            match &entry.replaces {
                Some(target) if there(target).is_none() => {
                    steps.push(RecoveryStep::Rename {
                        from: old.clone(),
                        to: target.clone(),
                        directory: directory.to_owned(),
                    });
                }
                Some(target) if entry.keeps_old && there(&entry.name).is_none() => steps.push(keep_as(old, target)),
                _ if entry.keeps_old => {}
                // The new table still has its temporary name, so the table with the target name is a different one.
                _ if there(&entry.name).is_some() => {
                    steps.push(keep(old, "another table has taken its name meanwhile"));
                }
                _ => steps.push(drop_table(old, there(old).and_then(Option::as_ref), Temporary::Replaced)),
            }
        }
        match there(&entry.name) {
            // A table that the server itself created has a UUID that the intent does not contain.
            Some(uuid) if is_own || entry.uuid.is_none() => {
                steps.push(drop_table(&entry.name, uuid.as_ref(), Temporary::Helper));
                return steps;
            }
            Some(uuid) => {
                // After an exchange the replaced table has the temporary name, and the new one has its name.
                let is_exchanged = entry.replaces.as_ref().is_some_and(|target| there(target) == Some(&entry.uuid));
                let is_replaced = match &entry.replaces_uuid {
                    Some(replaced) => has_other_name.is_some() && uuid.as_ref() == Some(replaced),
                    None => is_exchanged,
                };
                if let (true, true, Some(target)) = (is_replaced, entry.keeps_old, &entry.replaces) {
                    steps.push(keep_as(&entry.name, target));
                } else if is_replaced && !entry.keeps_old {
                    steps.push(drop_table(&entry.name, uuid.as_ref(), Temporary::Replaced));
                } else if !is_replaced {
                    steps.push(keep(&entry.name, "it is not the table that the interrupted restore made"));
                }
            }
            None => {}
        }
    } else if let Some(name) = now.or(Some(&entry.name).filter(|_| is_own)) {
        let drop_it = || drop_table(name, entry.uuid.as_ref(), Temporary::Helper);
        steps.extend(match &evidence.view {
            Some(Knowledge::Unknown | Knowledge::Absent) if is_own => Some(drop_it()),
            Some(Knowledge::Unclear(reason)) => Some(keep(name, reason)),
            Some(_) | None => release(name, entry, directory),
        });
        return steps;
    }
    // The table that was exchanged uses this directory.
    if now.is_some() {
        return steps;
    }
    steps.extend(evidence.places.iter().filter_map(|place| step_of_place(entry, place)));
    steps
}

/// Gives a view its inner table, which recovery renames to this name.
fn give_to_view(target: &mut TargetServer, name: &TableName, inner: &TargetTable) {
    let is_its = |view: &TableName, table: &TargetTable| {
        let lacks_inner = table.engine == "MaterializedView" && table.inner.is_none();
        lacks_inner && view.inner_table(table.uuid.as_ref()) == *name
    };
    if !inner.engine.ends_with("MergeTree") {
        return;
    }
    if let Some((_, view)) = target.tables.iter_mut().find(|(view, table)| is_its(view, table)) {
        view.inner = Some(name.clone());
        view.parts.clone_from(&inner.parts);
        view.unfinished_mutations.clone_from(&inner.unfinished_mutations);
        view.detached.clone_from(&inner.detached);
    }
}

/// Changes a target to its state after these steps.
pub fn apply_recovery(steps: &[RecoveryStep], target: &mut TargetServer) {
    for step in steps {
        match step {
            RecoveryStep::Rename { from, to, .. } => {
                if let Some(table) = target.tables.remove(from) {
                    give_to_view(target, to, &table);
                    target.tables.insert(to.clone(), table);
                }
            }
            RecoveryStep::DropTable { name, .. } => {
                target.tables.remove(name);
                target.keeper.forget(name);
            }
            RecoveryStep::RemovePlace { entry, .. } => match &entry.uuid {
                Some(uuid) => drop(target.used_uuids.remove(uuid)),
                None => drop(target.taken_places.remove(&entry.name)),
            },
            RecoveryStep::Release { name, held, .. } => {
                if let Some(definition) = target.tables.get_mut(name).and_then(|table| table.definition.as_mut()) {
                    *definition = released(definition, held);
                }
            }
            RecoveryStep::Resume { name, .. } => drop(target.being_filled.insert(name.clone())),
            RecoveryStep::ResumeAccess { .. }
            | RecoveryStep::EmptyDirectory { .. }
            | RecoveryStep::RemoveDirectory { .. }
            | RecoveryStep::Keep { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{
        AccessOptions, BegunAccess, EntryEvidence, HeldSetting, Knowledge, LeftoverContent, PlaceEvidence,
        RecoveryStep, RestoreEntry, StagingLeftover, Temporary, plan_recovery,
    };
    use crate::model::{TableName, TableUuid};
    use crate::plan::ObjectKind;

    fn uuid(number: u8) -> TableUuid {
        TableUuid::try_from(format!("{number:08x}-0000-4000-8000-000000000000")).expect("a UUID")
    }

    fn name(table: &str) -> TableName {
        TableName::new("d.b", table)
    }

    fn store(number: u8) -> PathBuf {
        Path::new("store").join(&uuid(number).as_str()[..3]).join(uuid(number).as_str())
    }

    fn entry(table: &str, number: u8) -> RestoreEntry {
        RestoreEntry {
            uuid: Some(uuid(number)),
            places: vec![("default".to_owned(), store(number))],
            is_temporary: false,
            ..RestoreEntry::helper(name(table))
        }
    }

    fn left(entry: RestoreEntry, knowledge: &Knowledge) -> Vec<StagingLeftover> {
        let places = entry.places.iter().map(|(disk, path)| PlaceEvidence {
            disk: disk.clone(),
            path: path.clone(),
            knowledge: knowledge.clone(),
        });
        let entries = vec![EntryEvidence { places: places.collect(), entry, view: None }];
        let snapshot = "2026-11-22T020000Z".parse().expect("an id");
        vec![StagingLeftover {
            directory: "x".to_owned(),
            content: LeftoverContent::Intent { snapshot, entries, access: Vec::new() },
        }]
    }

    fn tables(there: &[(&str, u8)]) -> BTreeMap<TableName, Option<TableUuid>> {
        there.iter().map(|(table, number)| (name(table), Some(uuid(*number)))).collect()
    }

    fn recovery(leftovers: &[StagingLeftover], tables: &BTreeMap<TableName, Option<TableUuid>>) -> Vec<RecoveryStep> {
        plan_recovery(leftovers, tables, AccessOptions::Nothing)
    }

    #[test]
    fn an_inner_table_is_dropped_only_if_the_server_knows_no_view_of_it() {
        let steps = |view: Knowledge, number: u8| {
            let entry = RestoreEntry { of_view: Some(uuid(9)), ..entry("t", 1) };
            let mut leftovers = left(entry, &Knowledge::Known);
            for leftover in &mut leftovers {
                let LeftoverContent::Intent { entries, .. } = &mut leftover.content else { continue };
                for evidence in entries {
                    evidence.view = Some(view.clone());
                }
            }
            recovery(&leftovers, &tables(&[("t", number)]))
        };
        let drops = |steps: &[RecoveryStep]| steps.iter().any(|step| matches!(step, RecoveryStep::DropTable { .. }));
        assert!(drops(&steps(Knowledge::Unknown, 1)));
        assert!(!drops(&steps(Knowledge::Unknown, 2)), "another table has its name");
        assert!(!drops(&steps(Knowledge::Known, 1)));
        let unclear = steps(Knowledge::Unclear("no right".to_owned()), 1);
        assert!(!drops(&unclear) && unclear.iter().any(|step| matches!(step, RecoveryStep::Keep { .. })));
    }

    #[test]
    fn a_note_of_users_stays_until_they_have_their_grants() {
        let access = vec![BegunAccess { kind: ObjectKind::User, name: "alice".to_owned() }];
        let snapshot = "2026-11-22T020000Z".parse().expect("an id");
        let content = LeftoverContent::Intent { snapshot, entries: Vec::new(), access: access.clone() };
        let left = [StagingLeftover { directory: "x".to_owned(), content }];
        let of = |options| plan_recovery(&left, &tables(&[]), options);
        let (directory, empties) = ("x".to_owned(), RecoveryStep::EmptyDirectory { directory: "x".to_owned() });
        assert_eq!(
            of(AccessOptions::Missing),
            [RecoveryStep::ResumeAccess { begun: access, directory }, empties.clone()]
        );
        let named = of(AccessOptions::Names);
        assert!(
            matches!(named.first(), Some(RecoveryStep::Keep { object, .. }) if object == "user alice"),
            "{named:?}"
        );
        assert_eq!(named.get(1), Some(&empties));
    }

    fn removes(steps: &[RecoveryStep]) -> bool {
        steps.iter().any(|step| matches!(step, RecoveryStep::RemovePlace { .. } | RecoveryStep::DropTable { .. }))
    }

    fn note_goes(steps: &[RecoveryStep]) -> bool {
        matches!(steps.last(), Some(RecoveryStep::RemoveDirectory { .. }))
    }

    #[test]
    fn a_place_that_the_server_knows_is_never_removed() {
        for (knowledge, is_removed, note_is_removed) in [
            (Knowledge::Known, false, true),
            (Knowledge::Unclear("metadata/ cannot be read".to_owned()), false, false),
            (Knowledge::Unknown, true, true),
            (Knowledge::Absent, false, true),
        ] {
            let steps = recovery(&left(entry("t", 1), &knowledge), &tables(&[]));
            assert_eq!((removes(&steps), note_goes(&steps)), (is_removed, note_is_removed), "{knowledge:?}: {steps:?}");
        }
        let held = RestoreEntry { held: vec![HeldSetting { name: "x".to_owned(), own_value: None }], ..entry("t", 1) };
        let detached = recovery(&left(held.clone(), &Knowledge::Known), &tables(&[]));
        assert!(!removes(&detached) && !note_goes(&detached), "it has to be released yet: {detached:?}");
        let released = recovery(&left(held, &Knowledge::Known), &tables(&[("t", 1)]));
        assert!(matches!(released.first(), Some(RecoveryStep::Release { .. })) && note_goes(&released), "{released:?}");
        let attached = recovery(&left(entry("t", 1), &Knowledge::Known), &tables(&[("t", 1)]));
        assert_eq!(attached, [RecoveryStep::RemoveDirectory { directory: "x".to_owned() }], "a finished note goes");
        let held = RestoreEntry { held: vec![HeldSetting { name: "x".to_owned(), own_value: None }], ..entry("t", 1) };
        let moved = recovery(&left(held, &Knowledge::Known), &tables(&[("moved", 1), ("t", 2)]));
        assert!(
            matches!(moved.first(), Some(RecoveryStep::Release { name: by_now, .. }) if *by_now == name("moved")),
            "renamed, or exchanged with another: {moved:?}"
        );
        // It was renamed meanwhile, and uses the directory, whatever else is recorded about it.
        let renamed = recovery(&left(entry("t", 1), &Knowledge::Unknown), &tables(&[("u", 1)]));
        assert!(!removes(&renamed), "{renamed:?}");
    }

    #[test]
    fn temporary_tables_are_dropped_only_if_they_are_the_restores_own() {
        let swap = RestoreEntry {
            is_temporary: true,
            replaces: Some(name("t")),
            replaces_uuid: Some(uuid(9)),
            ..entry("chsnap_1_new0", 1)
        };
        let plan = |there: &[(&str, u8)], entry: &RestoreEntry| {
            recovery(&left(entry.clone(), &Knowledge::Absent), &tables(there))
        };
        let dropped = |steps: &[RecoveryStep]| {
            steps.iter().find_map(|step| match step {
                RecoveryStep::DropTable { role, uuid, .. } => Some((*role, uuid.clone())),
                _ => None,
            })
        };
        // Before the exchange, and after it.
        let before = plan(&[("chsnap_1_new0", 1), ("t", 9)], &swap);
        assert_eq!(dropped(&before), Some((Temporary::Helper, Some(uuid(1)))));
        let after = plan(&[("chsnap_1_new0", 9), ("t", 1)], &swap);
        assert_eq!(dropped(&after), Some((Temporary::Replaced, Some(uuid(9)))));
        // The new one was renamed after the exchange.
        let renamed = plan(&[("chsnap_1_new0", 9), ("moved", 1)], &swap);
        assert_eq!(dropped(&renamed), Some((Temporary::Replaced, Some(uuid(9)))));
        // Another table has taken one of the names.
        for there in [[("chsnap_1_new0", 7), ("t", 1)], [("chsnap_1_new0", 7), ("t", 9)]] {
            let steps = plan(&there, &swap);
            assert!(!removes(&steps) && !note_goes(&steps), "{steps:?}");
        }
        let keeps = RestoreEntry { keeps_old: true, ..swap };
        let steps = plan(&[("chsnap_1_new0", 9), ("t", 1)], &keeps);
        assert!(!removes(&steps) && note_goes(&steps), "{steps:?}");
        assert!(
            matches!(steps.first(), Some(RecoveryStep::Rename { .. })),
            "under a name that tells what it is: {steps:?}"
        );
    }

    #[test]
    fn names_that_were_exchanged_one_after_the_other_are_given_back() {
        let swap = RestoreEntry {
            uuid: None,
            is_temporary: true,
            replaces: Some(name("t")),
            old_name: Some(name("chsnap_1_old0")),
            places: vec![("default".to_owned(), Path::new("data/d%2Eb/chsnap_1_new0").to_owned())],
            ..entry("chsnap_1_new0", 1)
        };
        let there = |names: &[&str]| names.iter().map(|table| (name(table), None)).collect::<BTreeMap<_, _>>();
        let half = recovery(&left(swap.clone(), &Knowledge::Known), &there(&["chsnap_1_old0", "chsnap_1_new0"]));
        assert!(matches!(half.first(), Some(RecoveryStep::Rename { .. })), "{half:?}");
        assert!(matches!(half.get(1), Some(RecoveryStep::DropTable { role: Temporary::Helper, .. })), "{half:?}");
        let taken = there(&["chsnap_1_old0", "chsnap_1_new0", "t"]);
        let taken = recovery(&left(swap.clone(), &Knowledge::Known), &taken);
        assert!(matches!(taken.first(), Some(RecoveryStep::Keep { .. })), "{taken:?}");
        let done = recovery(&left(swap, &Knowledge::Absent), &there(&["chsnap_1_old0", "t"]));
        assert!(matches!(done.first(), Some(RecoveryStep::DropTable { role: Temporary::Replaced, .. })), "{done:?}");
    }

    #[test]
    fn an_intent_leads_nowhere_but_to_the_table_that_it_names() {
        let mut entry = entry("t", 1);
        assert!(entry.is_own_directory(&store(1)) && entry.is_own_directory(Path::new("data/d%2Eb/t")));
        for path in
            ["data", "data/d%2Eb", "data/d%2Eb/u", "data/../t", "/data/d%2Eb/t", "store/abc/def", "metadata/d%2Eb/t"]
        {
            assert!(!entry.is_own_directory(Path::new(path)), "{path}");
        }
        entry.places = vec![("default".to_owned(), PathBuf::from("data/other/t"))];
        let steps = recovery(&left(entry.clone(), &Knowledge::Unknown), &tables(&[]));
        assert!(!removes(&steps) && !note_goes(&steps), "{steps:?}");
        entry.uuid = None;
        assert!(!entry.is_own_directory(&store(1)));
    }
}
