//! The manifest and the list of parts of a snapshot about to be sealed.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::model::{
    DumpKind, DumpTotals, Links, Part, PartName, PartitionId, Placed, SnapshotId, Table, TableName, Totals, Warning,
};
use crate::plan::{CreatePlan, TableDump, TablePattern};
use crate::repo::{
    BoundServer, FORMAT, HeldPart, Incoming, Index, Instance, Manifest, Origin, PartDigest, PartRecord, ServerEntry,
    Settings, TableEntry, TableState,
};
use crate::server::Identity;

use super::definitions::Written;
use super::dumps::DumpOutcome;
use super::previous::Previous;
use super::request::Request;
use super::taken::TakenPart;
use super::tree::{TakenTable, Tree};
use super::written::Allocated;

/// Everything that the manifest speaks of.
pub(super) struct Parts<'a> {
    pub(super) identity: Identity,
    pub(super) bound: BoundServer,
    pub(super) plan: &'a CreatePlan,
    pub(super) tree: Tree,
    /// What became of the tables that were to be dumped.
    pub(super) dumps: BTreeMap<TableName, DumpOutcome>,
    pub(super) previous: Option<&'a Previous>,
    /// The snapshot by which the index knows unchanged parts.
    pub(super) source: Option<SnapshotId>,
    pub(super) metadata: Written,
    pub(super) warnings: &'a [Warning],
}

/// What is to be written of a snapshot.
pub(super) struct Described {
    pub(super) manifest: Manifest,
    /// In the order of database, table and part.
    pub(super) records: Vec<PartRecord>,
    /// Of each of them.
    pub(super) notes: Vec<Note>,
}

/// What the index wants to know of a part beside its record.
pub(super) struct Note {
    links: Links,
    directories: u64,
    directory_bytes: u64,
    is_unchanged: bool,
    is_whole: bool,
}

impl Note {
    /// Adds the links of the part. An unchanged one's are those that the index has.
    fn keep(&mut self, links: Links) {
        if !self.is_unchanged {
            self.links = links;
        }
    }
}

impl Parts<'_> {
    pub(super) fn manifest(
        mut self,
        index: &Index,
        incoming: &Incoming<'_>,
        request: &Request,
        sealed: DateTime<Utc>,
    ) -> Described {
        let newest = index.summaries().iter().filter_map(|summary| summary.sequence).max().unwrap_or(0);
        let mut totals = Totals { tables: self.tree.taken.len() as u64, ..Totals::default() };
        let mut placed = Placed::default();
        let mut allocated = Allocated::beside(self.previous.map(|previous| &previous.inodes));
        let count = self.tree.taken.values().map(|taken| taken.attempt.parts.len()).sum();
        let mut described: (Vec<PartRecord>, Vec<Note>) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut tables = Vec::new();
        // Each part's own account goes when it is written down: of a large server, both do not fit.
        for mut taken in std::mem::take(&mut self.tree.taken).into_values() {
            let mut parts = std::mem::take(&mut taken.attempt.parts);
            parts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            let listed: HashMap<&PartName, &Part> = (taken.attempt.freeze.table.parts.iter())
                .chain(taken.after.parts.iter())
                .map(|part| (&part.name, part))
                .collect();
            let mut entry = self.taken_entry(&taken);
            for part in &parts {
                let tally = part.tally();
                match &part.extra.split {
                    Some(split) => placed += **split,
                    None => placed.add(part.placement, tally),
                }
                entry.parts += 1;
                entry.files += tally.files;
                entry.apparent_bytes += tally.bytes;
                entry.patch_parts += u64::from(part.name.is_patch());
                entry.unverifiable_parts += u64::from(part.inspected.unverifiable.is_some());
                entry.unverifiable = entry.unverifiable.or_else(|| part.inspected.unverifiable.clone());
                // A patch part's rows are changes of rows that other parts have.
                let known = listed.get(&part.name).filter(|_| !part.name.is_patch());
                entry.rows = entry.rows.saturating_add(known.map_or(0, |part| part.rows));
            }
            totals.parts += entry.parts;
            totals.files += entry.files;
            totals.apparent_bytes += entry.apparent_bytes;
            tables.push(entry);
            let describe = |part: TakenPart| {
                let known = listed.get(&part.name).copied();
                let digest = taken.attempt.digests.get(&part.name);
                (record(&taken.after, &part, known, digest), note(&part, self.source))
            };
            // Piece by piece, the first names from the end of the list: so the list gets shorter meanwhile.
            parts.reverse();
            while !parts.is_empty() {
                let mut some = parts.split_off(parts.len().saturating_sub(PARTS_OF_A_PIECE));
                parts.shrink_to_fit();
                some.reverse();
                let links: Vec<Links> = some.iter_mut().map(|part| std::mem::take(&mut part.inspected.links)).collect();
                let first = described.1.len();
                let count = || links.iter().for_each(|links| allocated.add(links));
                rayon::join(|| described.par_extend(some.into_par_iter().map(describe)), count);
                for (note, links) in described.1.iter_mut().skip(first).zip(links) {
                    note.keep(links);
                }
            }
        }
        totals.allocated_bytes = allocated.all_bytes;
        totals.written_bytes = allocated.new_bytes;
        let entry = |table: &Table, state, reason| self.entry(table, state, reason);
        tables.extend(self.plan.definitions.iter().map(|table| entry(table, TableState::Definition, None)));
        let left = self.plan.left_behind.iter();
        tables.extend(left.map(|(table, reason)| entry(table, TableState::DataLeft, Some(reason.to_string()))));
        let dumped = self.add_dumps(&mut tables);
        let skipped = self.tree.skipped.values();
        tables.extend(
            skipped.map(|skipped| entry(&skipped.table, TableState::Skipped, Some(skipped.reason.to_string()))),
        );
        tables.sort_by(|a, b| (&a.database, &a.table).cmp(&(&b.database, &b.table)));
        let manifest = Manifest {
            format: FORMAT,
            chsnap: env!("CARGO_PKG_VERSION").to_owned(),
            id: incoming.id(),
            sequence: newest.saturating_add(1),
            time: incoming.intent().started,
            sealed,
            label: request.label.clone(),
            server: ServerEntry {
                version: self.identity.version,
                uuid: self.bound.uuid,
                data_path: self.bound.data_path,
                host_name: self.identity.host_name,
                timezone: self.identity.timezone,
            },
            settings: settings(request),
            previous: self.previous.map(|previous| previous.id),
            totals,
            placed,
            dumped,
            databases: self.metadata.databases,
            tables,
            metadata: self.metadata.files,
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
            warning_list: self.warnings.to_vec(),
            parts_blake3: String::new(),
        };
        let (records, notes) = described;
        Described { manifest, records, notes }
    }

    fn taken_entry(&self, taken: &TakenTable) -> TableEntry {
        let remote = taken.attempt.freeze.remote.as_ref().filter(|remote| remote.parts > 0);
        TableEntry {
            freezes: taken.freezes,
            detached_parts: taken.attempt.detached_parts,
            mutations: taken.mutations.clone(),
            remote_parts: remote.map_or(0, |remote| remote.parts),
            ..self.entry(&taken.after, TableState::Taken, remote.map(ToString::to_string))
        }
    }

    /// Adds the tables without parts, and says what there is of them.
    fn add_dumps(&self, tables: &mut Vec<TableEntry>) -> DumpTotals {
        let mut dumped = DumpTotals::default();
        for TableDump { table, .. } in &self.plan.dumps {
            let entry = self.dump_entry(table);
            if let Some(dump) = &entry.dump {
                dumped += DumpTotals { tables: 1, rows: dump.rows.unwrap_or(0), bytes: dump.stored_bytes };
            }
            tables.push(entry);
        }
        dumped
    }

    fn dump_entry(&self, table: &Table) -> TableEntry {
        match self.dumps.get(table.name()) {
            Some(DumpOutcome::Dumped(dump)) => {
                let kept = match dump.kind {
                    DumpKind::Native => "its rows are kept as a dump",
                    DumpKind::Files => "its files are kept",
                };
                let reason = format!("its engine {} cannot be frozen: {kept}", table.engine);
                TableEntry {
                    rows: dump.rows.unwrap_or(0),
                    dump: Some(dump.clone()),
                    ..self.entry(table, TableState::DataLeft, Some(reason))
                }
            }
            Some(DumpOutcome::Left(reason)) => self.entry(table, TableState::DataLeft, Some(reason.to_string())),
            Some(DumpOutcome::Empty) | None => self.entry(table, TableState::Definition, None),
        }
    }

    fn entry(&self, table: &Table, state: TableState, reason: Option<String>) -> TableEntry {
        let definition = self.metadata.tables.get(table.name());
        TableEntry {
            database: table.name().database.clone(),
            table: table.name().table.clone(),
            uuid: table.key.uuid.clone(),
            engine: table.engine.clone(),
            state,
            reason,
            definition: definition.map(|(path, _)| path.clone()),
            definition_is_file: definition.is_some_and(|(_, is_file)| *is_file),
            storage_policy: table.storage_policy.clone(),
            parts: 0,
            files: 0,
            rows: 0,
            apparent_bytes: 0,
            freezes: 0,
            patch_parts: 0,
            detached_parts: 0,
            remote_parts: 0,
            is_detached: self.plan.detached.contains(table.name()) || self.tree.detached.contains(table.name()),
            unverifiable_parts: 0,
            unverifiable: None,
            mutations: Vec::new(),
            dump: None,
        }
    }
}

/// So many parts have their own account beside what was written down of them.
const PARTS_OF_A_PIECE: usize = 16_384;

/// Whether all these parts are whole.
pub(super) fn are_whole(notes: &[Note]) -> bool {
    notes.iter().all(|note| note.is_whole)
}

/// The parts for the index, each with the allocated bytes of its directories.
pub(super) fn held<'a>(records: &'a [PartRecord], notes: &'a [Note]) -> impl Iterator<Item = (HeldPart, u64)> + 'a {
    records.iter().zip(notes).map(|(record, note)| (hold(record, note), note.directory_bytes))
}

/// The part as the index keeps it. Who else links its files, and what the youngest take once they are written, is not
/// settled yet: they are asked again.
fn hold(record: &PartRecord, note: &Note) -> HeldPart {
    let origin = Origin::of(record, note.directories);
    if note.is_unchanged {
        HeldPart::Unchanged(origin)
    } else {
        HeldPart::Seen(Instance::new(&origin, note.links.clone()))
    }
}

/// What is noted of a part, its links aside.
fn note(part: &TakenPart, source: Option<SnapshotId>) -> Note {
    let inspected = &part.inspected;
    Note {
        links: Links::default(),
        directories: inspected.directories,
        directory_bytes: inspected.directory_bytes,
        // One that another snapshot has is looked for by its inodes.
        is_unchanged: part.is_unchanged && part.from == source,
        is_whole: inspected.problems.is_empty(),
    }
}

fn record(table: &Table, part: &TakenPart, known: Option<&Part>, digest: Option<&PartDigest>) -> PartRecord {
    let inspected = &part.inspected;
    PartRecord {
        database: table.name().database.as_str().into(),
        table: table.name().table.as_str().into(),
        uuid: table.key.uuid.clone(),
        disk: part.disk.clone(),
        partition: known.map_or_else(|| partition_of(&part.name), |part| part.partition.clone()),
        part: part.name.clone(),
        fingerprint: inspected.fingerprint,
        rows: known.map(|part| part.rows),
        bytes: inspected.bytes,
        files: inspected.files,
        placed: part.placement,
        from: part.from,
        directory: inspected.directory,
        directory_modified: inspected.directory_modified,
        ownership: inspected.ownership,
        exceptions: inspected.exceptions.clone(),
        uncovered: inspected.uncovered.clone(),
        unverifiable: inspected.unverifiable.clone(),
        digest: digest.cloned().map(Box::new),
        damage: inspected.problems.iter().chain(&part.extra.damage).cloned().collect(),
        joined: part.extra.joined.clone(),
        unkept: part.extra.unkept.clone(),
    }
}

/// The partition that a part's name begins with, for parts that lived so shortly that no list has them.
fn partition_of(name: &PartName) -> PartitionId {
    name.partition().unwrap_or_else(|| PartitionId(name.as_str().split('_').next().unwrap_or_default().into()))
}

fn settings(request: &Request) -> Settings {
    let texts = |patterns: &[TablePattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    let selection = &request.selection;
    Settings {
        freeze: request.freeze.name().to_owned(),
        place: request.place.name().to_owned(),
        ids: request.ids.name().to_owned(),
        include: texts(&selection.include),
        exclude: texts(&selection.exclude),
        accept: texts(&selection.accept),
        partitions: selection.partitions.iter().map(|partition| partition.0.to_string()).collect(),
    }
}
