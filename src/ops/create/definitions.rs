//! Definitions of all objects, and the mutations that a restored table has to finish.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::fs::{self, Stat};
use crate::model::{Table, TableName, TableUuid, UnlistedDatabase, Warning, WarningKind, is_own_database};
use crate::ops::error::OpError;
use crate::ops::restore::TableOnHold;
use crate::plan::{CreatePlan, TableSkipReason, is_held, released_text};
use crate::repo::{self, DatabaseEntry, Incoming, MetadataFile};
use crate::server::{self, DatabaseRow, FunctionRow, Server, sql};

use super::attempt::DefinitionText;
use super::request::Request;
use super::server_state::StateWriter;
use super::tree::{SkippedTable, TriedTables};
use crate::ops::copying::Copying;
use crate::ops::disks::{DEFINITION_LIMIT_BYTES, LocalDisks};

/// Writes definitions into a snapshot.
pub(super) struct DefinitionWriter<'a> {
    pub(super) server: &'a Server,
    pub(super) local: &'a LocalDisks,
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) request: &'a Request,
    pub(super) copying: &'a Copying<'a>,
    /// Tables that a restore holds, or held at some time since the first of them was frozen.
    pub(super) held: Vec<TableOnHold>,
}

/// The definitions that were written.
#[derive(Debug, Default)]
pub(super) struct WrittenDefinitions {
    pub(super) files: Vec<MetadataFile>,
    pub(super) databases: Vec<DatabaseEntry>,
    /// The path of each table's definition in the snapshot, and whether it is the server's own file.
    pub(super) tables: BTreeMap<TableName, (String, bool)>,
}

/// The warning about a table that a restore holds. `is_released` if the restore noted the settings of the hold, so that
/// they were removed from the definition.
fn hold_warning(name: &TableName, definition: &[u8], is_released: bool) -> Option<Warning> {
    let what = if is_released {
        "is held by a restore that is running or was interrupted: its definition is kept without the settings that hold it"
    } else if is_held(&String::from_utf8_lossy(definition)) {
        "has the settings by which a restore holds a table until it is compared, and no restore has noted it: it does not \
         merge (chsnap doctor names the statement that ends it)"
    } else {
        return None;
    };
    Some(Warning::of_table(WarningKind::LeftoverPending, name, format!("{name} {what}")))
}

/// Whether a snapshot has all databases, and with them what the server has besides databases.
fn keeps_everything(request: &Request) -> bool {
    request.selection.include.is_empty()
}

/// The server's functions, if they belong in the snapshot. The server takes long to list them, so they are read while
/// parts are checked.
pub(super) fn functions(server: &Server, request: &Request) -> Result<Vec<FunctionRow>, server::ServerError> {
    if keeps_everything(request) { server::functions(server) } else { Ok(Vec::new()) }
}

impl DefinitionWriter<'_> {
    pub(super) fn write(
        &self,
        databases: &[DatabaseRow],
        plan: &CreatePlan,
        tree: &TriedTables,
        warnings: &mut Vec<Warning>,
    ) -> Result<WrittenDefinitions, OpError> {
        let mut written = WrittenDefinitions::default();
        self.write_tables(plan, tree, &mut written, warnings)?;
        let is_filled = |table: &Table| {
            let key = (table.name(), table.key.uuid.as_ref());
            self.held.iter().any(|held| held.is_filled && held.is(key.0, key.1))
        };
        for table in tree.taken.values().map(|taken| &taken.after).filter(|table| is_filled(table)) {
            let name = table.name();
            let message =
                format!("{name} is being filled by a restore that is running or was interrupted: it may be incomplete");
            warnings.push(Warning::of_table(WarningKind::LeftoverPending, name, message));
        }
        self.write_databases(databases, &mut written)?;
        self.write_unlisted_databases(&plan.unlisted_databases, &mut written)?;
        write_mutations(tree, self.local, &mut written, self.copying, warnings)?;
        self.write_state(tree, &mut written, warnings)?;
        Ok(written)
    }

    /// Definitions of tables that were taken are fixed since their freeze. The others, including those of skipped
    /// tables, are read now.
    fn write_tables(
        &self,
        plan: &CreatePlan,
        tree: &TriedTables,
        written: &mut WrittenDefinitions,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        let mut write = |table: &Table, definition: &DefinitionText| -> Result<(), OpError> {
            let name = table.name();
            if !definition.is_file && String::from_utf8_lossy(&definition.text).contains("[HIDDEN]") {
                let message = format!(
                    "the definition of {name} has secrets that the server hides, and its file cannot be read here"
                );
                warnings.push(Warning::of_table(WarningKind::SecretsHidden, name, message));
            }
            let path = repo::definition_path(name);
            let released = self.released(table, &definition.text);
            let file = self.incoming.write_metadata(&path, released.as_deref().unwrap_or(&definition.text))?;
            warnings.extend(hold_warning(name, &definition.text, released.is_some()));
            written.tables.insert(name.clone(), (file.path.clone(), definition.is_file));
            written.files.push(file);
            Ok(())
        };
        for taken in tree.taken.values() {
            if let Some(definition) = &taken.attempt.definition {
                write(&taken.after, definition)?;
            }
        }
        let gone = |skipped: &&SkippedTable| skipped.reason == TableSkipReason::Gone;
        let skipped =
            || tree.skipped.iter().filter(|(name, _)| !tree.taken.contains_key(*name)).map(|(_, table)| table);
        for SkippedTable { table, .. } in skipped().filter(gone) {
            // Its file may belong to another table by now.
            write(table, &DefinitionText { text: table.definition.clone().into_bytes(), is_file: false })?;
        }
        let skipped = skipped().filter(|skipped| !gone(skipped)).map(|skipped| &skipped.table);
        let left_behind = plan.left_behind.iter().map(|(table, _)| table);
        let mut printed: Option<HashMap<TableName, String>> = None;
        let dumped = plan.dumps.iter().map(|dump| &dump.table);
        for table in plan.definitions.iter().chain(left_behind).chain(dumped).chain(skipped) {
            if let Some(text) = self.local.read_definition(&table.metadata_path) {
                write(table, &DefinitionText { text, is_file: true })?;
                continue;
            }
            if printed.is_none() {
                printed = Some(server::definitions(self.server, self.request.selection.names_system())?);
            }
            let known = printed.as_ref().and_then(|definitions| definitions.get(table.name()));
            let text = known.unwrap_or(&table.definition).clone().into_bytes();
            write(table, &DefinitionText { text, is_file: false })?;
        }
        Ok(())
    }

    /// The text of a definition without the settings by which a restore holds the table right now.
    fn released(&self, table: &Table, text: &[u8]) -> Option<Vec<u8>> {
        let is_it = |held: &&TableOnHold| !held.settings.is_empty() && held.is(table.name(), table.key.uuid.as_ref());
        let held = self.held.iter().find(is_it)?;
        released_text(std::str::from_utf8(text).ok()?, &held.settings).map(String::into_bytes)
    }

    fn write_databases(&self, databases: &[DatabaseRow], written: &mut WrittenDefinitions) -> Result<(), OpError> {
        let all = keeps_everything(self.request);
        let is_kept = |database: &&DatabaseRow| {
            let has_tables = || written.tables.keys().any(|table| table.database == database.name);
            !is_own_database(&database.name) && (all || has_tables())
        };
        let kept: Vec<_> = (databases.iter().filter(is_kept))
            .map(|database| (database, self.local.read_definition(&repo::database_definition_path(&database.name))))
            .collect();
        let without_file: Vec<&str> =
            kept.iter().filter(|(_, text)| text.is_none()).map(|(database, _)| database.name.as_str()).collect();
        let engines = server::database_engines(self.server, &without_file)?;
        for (database, text) in kept {
            let path = repo::database_definition_path(&database.name);
            let text = text.unwrap_or_else(|| {
                let engine = engines.get(&database.name).unwrap_or(&database.engine);
                format!("CREATE DATABASE {} ENGINE = {engine}\n", sql::quote_name(&database.name)).into_bytes()
            });
            let file = self.incoming.write_metadata(&path, &text)?;
            written.databases.push(DatabaseEntry {
                database: database.name.clone(),
                engine: database.engine.clone(),
                uuid: TableUuid::from_server(&database.uuid).ok().flatten(),
                definition: file.path.clone(),
            });
            written.files.push(file);
        }
        Ok(())
    }

    fn write_unlisted_databases(
        &self,
        databases: &[UnlistedDatabase],
        written: &mut WrittenDefinitions,
    ) -> Result<(), OpError> {
        for database in databases {
            let path = repo::database_definition_path(&database.name);
            // Dropped meanwhile.
            let Some(text) = self.local.read_definition(&path) else { continue };
            let file = self.incoming.write_metadata(&path, &text)?;
            written.databases.push(DatabaseEntry {
                database: database.name.clone(),
                engine: database.engine.clone(),
                uuid: TableUuid::from_server(&database.uuid).ok().flatten(),
                definition: file.path.clone(),
            });
            written.files.push(file);
        }
        Ok(())
    }

    fn write_state(
        &self,
        tree: &TriedTables,
        written: &mut WrittenDefinitions,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        let files = &mut written.files;
        let Self { server, local, incoming, request, .. } = self;
        let mut writer = StateWriter { server, local, incoming, files, kept: BTreeSet::new(), warnings };
        if keeps_everything(request) {
            let functions = tree.functions.clone().map_or_else(|| functions(server, request), Ok)?;
            writer.write(functions)?;
        }
        writer.write_configs(&request.configs)
    }
}

/// Copies these files and never links them: the server appends to them in place when it uses transactions.
fn write_mutations(
    tree: &TriedTables,
    local: &LocalDisks,
    written: &mut WrittenDefinitions,
    copying: &Copying<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), OpError> {
    for (name, taken) in tree.taken.iter().filter(|(_, taken)| !taken.mutations.is_empty()) {
        let (live, dir) = (local.live(&taken.after)?, taken.attempt.target.dir()?);
        for mutation in &taken.mutations {
            let mut found = None;
            for live in &live {
                if let Some((stat, bytes)) = live.dir.find_with_stat(mutation, DEFINITION_LIMIT_BYTES)? {
                    found = Some((bytes, stat));
                    break;
                }
            }
            let Some((bytes, stat)) = found else {
                let message = format!("{name}: the unfinished mutation {mutation} could not be had any more");
                warnings.push(Warning::of_table(WarningKind::MutationLost, name, message));
                continue;
            };
            let ownership = copying.attainable(stat.ownership, fs::own_ids(stat.ownership.mode));
            dir.write_copy(mutation, &Stat { ownership, ..stat }, &bytes)?;
            let path = repo::table_path(name).join(mutation);
            written.files.push(MetadataFile::of(&path, &bytes));
        }
    }
    Ok(())
}
