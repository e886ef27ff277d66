//! The manifest and the list of parts of a snapshot about to be sealed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::model::{
    CatalogPart, DumpKind, DumpTotals, InodeSet, Links, LivePartState, Moment, OffMoment, PartName, PartitionId,
    PlacedTotals, SnapshotTotals, Table, TableName, Warning,
};
use crate::ops::written::Allocated;
use crate::plan::{CreatePlan, OffMomentReason, ParsedDefinition, TableDump, TablePattern};
use crate::repo::{
    BoundServer, CreateSettings, FORMAT, Incoming, Index, InstanceOrigin, KnownParts, Manifest, PartDigest,
    PartInstance, PartRecord, ReplicaEntry, RetainedPart, ServerEntry, TableEntry, TableState,
};
use crate::server::ServerIdentity;

use super::definitions::WrittenDefinitions;
use super::dumps::DumpOutcome;
use super::previous::Previous;
use super::replication::Replication;
use super::request::Request;
use super::snapshot_part::SnapshotPart;
use super::tree::{TakenTable, TriedTables};

/// Everything that goes into the manifest.
pub(super) struct ManifestInputs<'a> {
    pub(super) identity: ServerIdentity,
    pub(super) bound: BoundServer,
    pub(super) replication: Replication,
    pub(super) plan: &'a CreatePlan,
    pub(super) tree: TriedTables,
    /// The moment of the tables, if they share one.
    pub(super) moment: Option<Moment>,
    /// The outcomes of the tables that were to be dumped.
    pub(super) dumps: BTreeMap<TableName, DumpOutcome>,
    pub(super) previous: Option<&'a Previous>,
    /// The parts by which the index recognizes unchanged ones.
    pub(super) known: Option<&'a KnownParts>,
    pub(super) metadata: WrittenDefinitions,
    pub(super) warnings: &'a [Warning],
}

/// The manifest, part records and index notes of a snapshot.
pub(super) struct DescribedSnapshot {
    pub(super) manifest: Manifest,
    /// The part records, ordered by database, table and part.
    pub(super) records: Vec<PartRecord>,
    /// One note for each record.
    pub(super) notes: Vec<PartIndexNote>,
}

/// The fields of a part that the index stores besides its record.
pub(super) struct PartIndexNote {
    links: Links,
    directories: u64,
    directory_bytes: u64,
    is_unchanged: bool,
    /// The state of the live part, if it was kept for the next snapshot.
    live: Option<Box<LivePartState>>,
    is_whole: bool,
}

impl PartIndexNote {
    /// Adds the links of the part. The index already has the links of an unchanged part.
    fn keep(&mut self, links: Links) {
        if !self.is_unchanged {
            self.links = links;
        }
    }
}

/// Adds a part to the figures of its table. The rows of a patch part are changes to rows of other parts, and do not count.
fn add_part(entry: &mut TableEntry, part: &SnapshotPart, rows: u64) {
    let tally = part.tally();
    entry.parts += 1;
    entry.files += tally.files;
    entry.apparent_bytes += tally.bytes;
    if part.name.is_patch() {
        entry.patch_parts += 1;
    } else {
        entry.rows = entry.rows.saturating_add(rows);
    }
    if let Some(unverifiable) = &part.inspected.unverifiable {
        entry.unverifiable_parts += 1;
        entry.unverifiable.get_or_insert_with(|| unverifiable.clone());
    }
}

/// The records of all parts so far, and their sums.
struct DescribedParts<'a> {
    totals: SnapshotTotals,
    placed: PlacedTotals,
    allocated: Allocated<'a>,
    /// The records, and as many notes. In one field, because both are extended at once.
    lists: (Vec<PartRecord>, Vec<PartIndexNote>),
}

impl<'a> DescribedParts<'a> {
    fn new(count: usize, previous: Option<&'a InodeSet>) -> Self {
        Self {
            totals: SnapshotTotals::default(),
            placed: PlacedTotals::default(),
            allocated: Allocated::since(previous),
            lists: (Vec::with_capacity(count), Vec::with_capacity(count)),
        }
    }
}

impl ManifestInputs<'_> {
    pub(super) fn manifest(
        mut self,
        index: &Index,
        incoming: &Incoming<'_>,
        request: &Request,
        sealed: DateTime<Utc>,
    ) -> DescribedSnapshot {
        let newest = index.summaries().iter().filter_map(|summary| summary.sequence).max().unwrap_or(0);
        let count = self.tree.taken.values().map(|taken| taken.attempt.parts.len()).sum();
        let mut described = DescribedParts::new(count, self.previous.map(|previous| &previous.inodes));
        described.totals.tables = self.tree.taken.len() as u64;
        let mut tables = Vec::new();
        // Each part's own data is dropped as soon as it is recorded: on a large server both do not fit in memory.
        for taken in std::mem::take(&mut self.tree.taken).into_values() {
            tables.push(self.describe(taken, &mut described));
        }
        let DescribedParts { mut totals, placed, allocated, lists: (records, notes) } = described;
        (totals.allocated_bytes, totals.written_bytes) = (allocated.all_bytes, allocated.new_bytes);
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
                macros: self.replication.macros,
            },
            settings: settings(request),
            imported: None,
            moment: self.moment,
            copied: None,
            extracted: None,
            secrets_left_out: None,
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
        DescribedSnapshot { manifest, records, notes }
    }

    /// Records the parts of a table. Returns its entry.
    fn describe(&self, mut taken: TakenTable, described: &mut DescribedParts<'_>) -> TableEntry {
        let mut parts = std::mem::take(&mut taken.attempt.parts);
        parts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let listed: HashMap<&PartName, &CatalogPart> = (taken.attempt.freeze.table.parts.iter())
            .chain(taken.after.parts.iter())
            .map(|part| (&part.name, part))
            .collect();
        let mut entry = self.taken_entry(&taken);
        let DescribedParts { totals, placed, allocated, lists } = described;
        for part in &parts {
            match &part.extra.split {
                Some(split) => *placed += **split,
                None => placed.add(part.placement, part.tally()),
            }
            add_part(&mut entry, part, listed.get(&part.name).map_or(0, |part| part.rows));
        }
        totals.parts += entry.parts;
        totals.files += entry.files;
        totals.apparent_bytes += entry.apparent_bytes;
        let name = Arc::new(taken.after.name().clone());
        let describe = |part: SnapshotPart| {
            let known = listed.get(&part.name).copied();
            let digest = taken.attempt.digests.get(&part.name);
            let record = record((&taken.after, &name), &part, known, digest);
            let note = note(&part, self.known.is_some_and(|known| is_known(known, &part, &record)));
            (record, note)
        };
        // Chunk by chunk, the first names from the end of the list, so that the list shrinks meanwhile.
        parts.reverse();
        while !parts.is_empty() {
            let mut some = parts.split_off(parts.len().saturating_sub(PARTS_OF_A_PIECE));
            parts.shrink_to_fit();
            some.reverse();
            let links: Vec<Links> = some.iter_mut().map(|part| std::mem::take(&mut part.inspected.links)).collect();
            let first = lists.1.len();
            let count = || links.iter().for_each(|links| allocated.add(links));
            rayon::join(|| lists.par_extend(some.into_par_iter().map(describe)), count);
            for (note, links) in lists.1.iter_mut().skip(first).zip(links) {
                note.keep(links);
            }
        }
        entry
    }

    fn taken_entry(&self, taken: &TakenTable) -> TableEntry {
        let remote = taken.attempt.freeze.remote.as_ref().filter(|remote| remote.parts > 0);
        TableEntry {
            freezes: taken.freezes,
            detached_parts: taken.attempt.detached_parts,
            mutations: taken.mutations.clone(),
            keeper_mutations: taken.in_keeper.clone(),
            remote_parts: remote.map_or(0, |remote| remote.parts),
            off_moment: taken.off_moment.as_ref().map(OffMoment::from),
            ..self.entry(&taken.after, TableState::Taken, remote.map(ToString::to_string))
        }
    }

    /// Adds the tables without parts, and returns their totals.
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
                    off_moment: self.moment.map(|_| OffMoment::from(&OffMomentReason::Dumped)),
                    ..self.entry(table, TableState::DataLeft, Some(reason))
                }
            }
            Some(DumpOutcome::Left(reason)) => self.entry(table, TableState::DataLeft, Some(reason.to_string())),
            Some(DumpOutcome::Empty) | None => self.entry(table, TableState::Definition, None),
        }
    }

    /// Where Keeper has a replicated table, according to its definition and to the server.
    fn replica(&self, table: &Table) -> Option<ReplicaEntry> {
        if !table.engine.starts_with("Replicated") {
            return None;
        }
        let definition = ParsedDefinition::parse(&table.definition).ok();
        let arguments = definition.and_then(|definition| definition.replica());
        let (path, name) = arguments.map(|arguments| (arguments.path, arguments.replica)).unzip();
        let found = self.replication.replicas.get(table.name());
        // A table in a database of the engine Replicated may take its shard from there.
        let names_shard = path.as_ref().is_some_and(|path| path.contains("{shard}"));
        let shard = self.replication.macros.get("shard").filter(|_| names_shard);
        Some(ReplicaEntry {
            path,
            name,
            zookeeper_path: found.map(|replica| replica.keeper_path.clone()),
            replica_name: found.map(|replica| replica.name.clone()),
            shard: shard.cloned(),
        })
    }

    fn entry(&self, table: &Table, state: TableState, reason: Option<String>) -> TableEntry {
        let definition = self.metadata.tables.get(table.name());
        let detached =
            [&self.plan.detached, &self.tree.detached].iter().find_map(|detached| detached.get(table.name()));
        TableEntry {
            uuid: table.key.uuid.clone(),
            reason,
            definition: definition.map(|(path, _)| path.clone()),
            definition_is_file: definition.is_some_and(|(_, is_file)| *is_file),
            storage_policy: table.storage_policy.clone(),
            is_detached: detached.is_some(),
            detachment: detached.copied().flatten(),
            replica: self.replica(table),
            ..TableEntry::without_parts(table.name(), &table.engine, state)
        }
    }
}

/// The number of parts whose own data and record are in memory at the same time.
const PARTS_OF_A_PIECE: usize = 16_384;

/// Whether all these parts are intact.
pub(super) fn are_whole(notes: &[PartIndexNote]) -> bool {
    notes.iter().all(|note| note.is_whole)
}

/// The parts for the index, each with the allocated bytes of its directories.
pub(super) fn held<'a>(
    records: &'a [PartRecord],
    notes: &'a [PartIndexNote],
) -> impl Iterator<Item = (RetainedPart, u64)> + 'a {
    records.iter().zip(notes).map(|(record, note)| (hold(record, note), note.directory_bytes))
}

/// The part as the index keeps it. Which other links its files have, and the space of the youngest files, which are
/// still being written, are not final yet: they are read again later.
fn hold(record: &PartRecord, note: &PartIndexNote) -> RetainedPart {
    let origin = InstanceOrigin::of(record, note.directories);
    if note.is_unchanged {
        RetainedPart::Unchanged(origin, note.live.clone())
    } else {
        RetainedPart::Seen(PartInstance::new(&origin, note.links.clone()), note.live.clone())
    }
}

/// Whether the index has this part already. A part that another snapshot has is looked up by its inodes.
fn is_known(known: &KnownParts, part: &SnapshotPart, record: &PartRecord) -> bool {
    part.is_unchanged && part.from == Some(known.snapshot()) && known.has(record)
}

/// The note about a part, without its links.
fn note(part: &SnapshotPart, is_unchanged: bool) -> PartIndexNote {
    let inspected = &part.inspected;
    PartIndexNote {
        links: Links::default(),
        directories: inspected.directories,
        directory_bytes: inspected.directory_bytes,
        is_unchanged,
        live: part.live.clone(),
        is_whole: inspected.problems.is_empty(),
    }
}

fn record(
    (table, name): (&Table, &Arc<TableName>),
    part: &SnapshotPart,
    known: Option<&CatalogPart>,
    digest: Option<&PartDigest>,
) -> PartRecord {
    let inspected = &part.inspected;
    PartRecord {
        table: Arc::clone(name),
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

/// The partition at the start of a part's name, for parts that lived so briefly that no list has them.
fn partition_of(name: &PartName) -> PartitionId {
    name.partition().unwrap_or_else(|| PartitionId(name.as_str().split('_').next().unwrap_or_default().into()))
}

fn settings(request: &Request) -> CreateSettings {
    let texts = |patterns: &[TablePattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    let selection = &request.selection;
    CreateSettings {
        freeze: request.freeze.name().to_owned(),
        place: request.place.name().to_owned(),
        ids: request.ids.name().to_owned(),
        include: texts(&selection.include),
        exclude: texts(&selection.exclude),
        accept: texts(&selection.accept),
        partitions: selection.partitions.iter().map(|partition| partition.0.to_string()).collect(),
    }
}
