//! The tables that a drill tries, and those that it leaves out.

use std::collections::BTreeSet;

use crate::model::{TableName, escape_for_file_name};
use crate::ops::error::OpError;
use crate::ops::restore::{SnapshotSource, SourceTable, TargetSurvey, WantedTables, lifts_drop_limit, random};
use crate::plan::{
    DROP_LIMIT_BYTES, DefinitionScope, Mapping, ObjectKind, ParsedDefinition, SnapshotReference, TableRename, Verb,
};
use crate::repo::{Repository, TableState};
use crate::server::{self, Server, sql};

use super::report::{DrillFailure, DrillObstacle, DrillVerdict, DrilledTable};
use super::request::DrillRequest;

/// The tables of a snapshot that a drill may try.
pub(super) struct DrillCandidates {
    pub(super) source: SnapshotSource,
    /// Tables with parts, and objects with only a definition.
    pub(super) tables: Vec<SourceTable>,
    pub(super) tables_in_snapshot: usize,
}

/// A table of the snapshot and the name that it gets in the drill's database.
pub(super) struct Selected {
    pub(super) table: SourceTable,
    pub(super) to: TableName,
    pub(super) definition: ParsedDefinition,
}

impl Selected {
    /// Whether the snapshot has its rows, as parts or as a dump.
    pub(super) fn has_data(&self) -> bool {
        has_data(&self.table)
    }
}

/// The tables that a drill tries, and those that it leaves out.
pub(super) struct DrillSelection {
    pub(super) selected: Vec<Selected>,
    pub(super) left_out: Vec<DrilledTable>,
}

fn has_data(table: &SourceTable) -> bool {
    table.has_parts() && !table.parts.is_empty() || table.entry.dump.is_some()
}

impl DrillCandidates {
    /// Opens the snapshot and chooses from it. A sample contains only tables with parts, and others each time, so that
    /// over the nights every table has its turn.
    ///
    /// # Errors
    /// If the snapshot cannot be read, or has nothing to try.
    pub(super) fn choose(
        repository: &Repository,
        reference: &SnapshotReference,
        request: &DrillRequest,
    ) -> Result<Self, OpError> {
        let wanted = WantedTables::default().with_tables(request.tables.clone());
        let source = SnapshotSource::open(repository, reference, &wanted)?;
        let tables_in_snapshot =
            source.manifest.tables.iter().filter(|entry| entry.parts > 0 || entry.dump.is_some()).count();
        let is_there = |table: &&SourceTable| table.entry.state != TableState::Skipped;
        let mut tables: Vec<SourceTable> = source.tables.iter().filter(is_there).cloned().collect();
        if let Some(sample) = request.sample {
            tables.retain(has_data);
            let mut keyed =
                tables.into_iter().map(|table| Ok((random()?, table))).collect::<Result<Vec<_>, OpError>>()?;
            keyed.sort_by_key(|(key, _)| *key);
            tables = keyed.into_iter().take(sample).map(|(_, table)| table).collect();
        }
        if tables.is_empty() {
            return Err(OpError::NotInSnapshot { names: vec!["table to try".to_owned()] });
        }
        Ok(Self { source, tables, tables_in_snapshot })
    }

    /// Selects the tables that can be created in the drill's `database` without touching anything else.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(super) fn select(
        &self,
        server: &Server,
        survey: &TargetSurvey,
        database: &str,
    ) -> Result<DrillSelection, OpError> {
        let mut selection = DrillSelection { selected: Vec::new(), left_out: Vec::new() };
        let missing = self.missing_objects(server)?;
        let lifts_limit = lifts_drop_limit(server)?;
        let is_too_large = |table: &SourceTable| !lifts_limit && table.bytes() > DROP_LIMIT_BYTES;
        for (number, table) in self.tables.iter().enumerate() {
            match self.definition(table, &missing) {
                Ok(_) if is_too_large(table) => {
                    let limit = DROP_LIMIT_BYTES / 1_000_000_000;
                    let reason =
                        format!("this server refuses to drop more than {limit} GB at once, so a drill leaves it out");
                    selection.leave_out(table, DrillVerdict::NotTried(DrillObstacle::Refused(reason)));
                }
                Ok(definition) => {
                    let to = TableName::new(database, format!("t{number}"));
                    selection.selected.push(Selected { table: table.clone(), to, definition });
                }
                Err(verdict) => selection.leave_out(table, verdict),
            }
        }
        let of_snapshot = self.source.manifest.databases.iter().map(|entry| entry.database.clone());
        let of_tables = self.source.manifest.tables.iter().map(|entry| entry.database.clone());
        let mut others: BTreeSet<String> =
            survey.databases.keys().cloned().chain(of_snapshot).chain(of_tables).collect();
        others.remove(database);
        // An object that refers to one that is left out is left out as well.
        while selection.leave_out_outside(&DefinitionScope { own: database, others: &others }) {}
        Ok(selection)
    }

    fn definition(
        &self,
        table: &SourceTable,
        missing: &[(ObjectKind, String)],
    ) -> Result<ParsedDefinition, DrillVerdict> {
        let not_tried = |obstacle| Err(DrillVerdict::NotTried(obstacle));
        let Some(path) = &table.entry.definition else {
            return not_tried(DrillObstacle::Definition("it is not in the snapshot".to_owned()));
        };
        let text = (self.source.metadata(path))
            .map_err(|error| DrillVerdict::Failed(DrillFailure::Definition(crate::monitor::chain(&error))))?;
        let definition = match ParsedDefinition::parse(&String::from_utf8_lossy(&text)) {
            Ok(definition) => definition,
            Err(error) => return not_tried(DrillObstacle::Definition(error.to_string())),
        };
        match missing.iter().find(|(kind, name)| definition.needs(*kind, name)) {
            Some((kind, name)) => not_tried(DrillObstacle::Needs(format!("{kind} {name}"))),
            // A drill must not touch Keeper.
            None => Ok(definition.as_plain()),
        }
    }

    /// Functions and named collections of the snapshot that the server does not have: a restore would create them for
    /// the whole server. Their names are those of their files.
    fn missing_objects(&self, server: &Server) -> Result<Vec<(ObjectKind, String)>, OpError> {
        let functions: Vec<String> =
            server::functions(server)?.iter().map(|function| escape_for_file_name(&function.name)).collect();
        let collections: Vec<String> =
            server::named_collections(server).iter().map(|name| escape_for_file_name(name)).collect();
        let missing = self.source.manifest.metadata.iter().filter_map(|file| {
            let (directory, stem) = file.path.split_once('/')?;
            let stem = stem.strip_suffix(".sql")?;
            let (kind, name, there) = match directory {
                "user_defined" => (ObjectKind::Function, stem.strip_prefix("function_").unwrap_or(stem), &functions),
                "named_collections" => (ObjectKind::NamedCollection, stem, &collections),
                _ => return None,
            };
            (!there.iter().any(|other| other == name)).then(|| (kind, name.to_owned()))
        });
        Ok(missing.collect())
    }
}

impl DrillSelection {
    /// The new names.
    pub(super) fn renames(&self) -> Vec<TableRename> {
        self.selected.iter().map(|one| TableRename::new(one.table.name(), one.to.clone())).collect()
    }

    /// The selected table of this name in the snapshot.
    pub(super) fn find(&self, from: &TableName) -> Option<&Selected> {
        self.selected.iter().find(|one| one.table.name() == *from)
    }

    /// How definitions are rewritten.
    pub(super) fn mapping(&self) -> Mapping {
        Mapping {
            tables: self.selected.iter().map(|one| (one.table.name(), one.to.clone())).collect(),
            ..Mapping::default()
        }
    }

    fn leave_out(&mut self, table: &SourceTable, verdict: DrillVerdict) {
        self.left_out.push(DrilledTable::left_out(&table.name(), &table.entry.engine, has_data(table), verdict));
    }

    /// Leaves out definitions that refer outside the drill's database. Returns whether there were any.
    fn leave_out_outside(&mut self, surroundings: &DefinitionScope<'_>) -> bool {
        let mapping = self.mapping();
        let before = self.selected.len();
        for one in std::mem::take(&mut self.selected) {
            let statement = one.definition.statement(Verb::Create, &sql::quote_table(&one.to), (None, None), &mapping);
            // A table with parts reads and writes its own parts; a table of another engine may be defined to write
            // elsewhere.
            let reason = if one.has_data() && one.table.entry.dump.is_none() {
                None
            } else {
                one.definition.reach(&statement, &mapping, surroundings)
            };
            match reason {
                None => self.selected.push(one),
                Some(reason) => self.leave_out(&one.table, DrillVerdict::NotTried(DrillObstacle::Outside(reason))),
            }
        }
        self.selected.len() < before
    }
}
