//! Data of a live table that a restore would destroy by replacing it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::model::{Fingerprint, PartitionId, TableUuid, count};

use super::compare::PartState;
use super::target::{DetachedParts, LiveRows, PartsElsewhere, TargetTable};

/// The scope that a restore replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplacedScope<'a> {
    /// The whole table: its directory, its mutations and its definition are replaced too.
    Table,
    /// All partitions; the table itself stays.
    AllPartitions,
    /// These partitions; the table itself stays.
    Partitions(&'a BTreeSet<PartitionId>),
}

impl ReplacedScope<'_> {
    fn is_any(&self) -> bool {
        !matches!(self, Self::Partitions(ids) if ids.is_empty())
    }

    fn holds(&self, part: &PartState) -> bool {
        match self {
            Self::Table | Self::AllPartitions => true,
            Self::Partitions(ids) => ids.contains(&part.partition.of_data()),
        }
    }
}

/// Something in a live table that the snapshot does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Active parts with rows.
    Parts {
        /// Their number.
        parts: u64,
        /// Rows in them.
        rows: u64,
        /// Their size on disk.
        bytes: u64,
    },
    /// Rows outside of parts. No comparison shows which of them the snapshot has.
    Rows {
        /// Their number.
        rows: u64,
    },
    /// Rows outside of parts that cannot be counted.
    UncountedRows {
        /// The reason.
        reason: String,
    },
    /// Lightweight updates and deletes that have not been merged into their parts yet.
    Patches {
        /// Patch parts.
        parts: u64,
    },
    /// Mutations that have not changed every part yet: they would not change restored parts, and count as done.
    Mutations {
        /// Their ids.
        ids: Vec<String>,
    },
    /// Parts in `detached/`.
    DetachedParts {
        /// Their number.
        parts: u64,
        /// The first of them.
        first: String,
    },
    /// `detached/` cannot be read, so its contents are unknown.
    UnreadableDetached {
        /// The reason.
        reason: String,
    },
    /// Parts that only other replicas have, which every replica would lose.
    PartsElsewhere {
        /// Their number.
        parts: u64,
        /// The first of them.
        first: String,
    },
    /// Keeper cannot be asked, so the data of other replicas is unknown.
    UnknownElsewhere {
        /// The reason.
        reason: String,
    },
    /// The table's definition differs from that in the snapshot.
    Definition,
}

impl Loss {
    /// The stable name for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Parts { .. } => "parts",
            Self::Rows { .. } => "rows",
            Self::UncountedRows { .. } => "uncounted_rows",
            Self::Patches { .. } => "patches",
            Self::Mutations { .. } => "mutations",
            Self::DetachedParts { .. } => "detached_parts",
            Self::UnreadableDetached { .. } => "unreadable_detached",
            Self::PartsElsewhere { .. } => "parts_elsewhere",
            Self::UnknownElsewhere { .. } => "unknown_elsewhere",
            Self::Definition => "definition",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts { parts, rows, .. } => write!(f, "{} in {}", count(*rows, "row"), count(*parts, "part")),
            Self::Rows { rows } => write!(f, "up to {}", count(*rows, "row")),
            Self::UncountedRows { reason } => write!(f, "rows that cannot be counted: {reason}"),
            Self::Patches { parts } => {
                write!(f, "lightweight updates or deletes in {}", count(*parts, "patch part"))
            }
            Self::Mutations { ids } => {
                let mutations = count(ids.len() as u64, "unfinished mutation");
                write!(f, "{mutations} ({})", ids.first().map_or("", String::as_str))
            }
            Self::DetachedParts { parts, first } => write!(f, "{} ({first})", count(*parts, "detached part")),
            Self::UnreadableDetached { reason } => write!(f, "detached parts that cannot be listed: {reason}"),
            Self::PartsElsewhere { parts, first } => {
                write!(f, "{} that this replica has yet to get from the others ({first})", count(*parts, "part"))
            }
            Self::UnknownElsewhere { reason } => write!(f, "parts of other replicas that cannot be listed: {reason}"),
            Self::Definition => write!(f, "another definition"),
        }
    }
}

/// The stored side of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The table's UUID in the snapshot.
    pub uuid: Option<&'a TableUuid>,
    /// All its parts in the snapshot, including patch parts.
    pub parts: &'a [PartState],
    /// Its unfinished mutations in the snapshot.
    pub mutations: &'a [String],
    /// Whether the live table has the same definition as the stored one.
    pub has_same_definition: bool,
}

/// Returns what the live table has within `scope` and the snapshot lacks. Nothing is lost if the list is empty.
///
/// A part counts as stored only if the snapshot has one with the same fingerprint in the same partition, matched one to
/// one. An empty part, and one that the server no longer counts, is never a loss. Rows outside of parts are all lost,
/// unless all of them are those of the dump.
#[must_use]
pub fn losses(live: &TargetTable, stored: Stored<'_>, scope: ReplacedScope<'_>) -> Vec<Loss> {
    // The number of parts in the snapshot with each content: rows that were inserted twice are two parts.
    let key = |part: &PartState| Some((part.partition.clone(), part.fingerprint?));
    let mut held: HashMap<(PartitionId, Fingerprint), u64> = HashMap::new();
    for key in stored.parts.iter().filter_map(key) {
        *held.entry(key).or_default() += 1;
    }
    let mut is_held = |part: &PartState| {
        let left = key(part).and_then(|key| held.get_mut(&key)).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    let mut found = Vec::new();
    let (mut parts, mut rows, mut bytes, mut patches, mut in_scope) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    for part in live.parts.iter().filter(|part| part.is_active && !part.is_empty() && scope.holds(part)) {
        in_scope += 1;
        if is_held(part) {
            continue;
        }
        if part.name.is_patch() {
            patches += 1;
        } else {
            parts += 1;
            rows = rows.saturating_add(part.rows.unwrap_or(0));
            bytes = bytes.saturating_add(part.bytes);
        }
    }
    if parts > 0 {
        found.push(Loss::Parts { parts, rows, bytes });
    }
    match &live.rows {
        Some(LiveRows::Rows(rows)) => found.push(Loss::Rows { rows: *rows }),
        Some(LiveRows::Unknown(reason)) => found.push(Loss::UncountedRows { reason: reason.clone() }),
        Some(LiveRows::Empty | LiveRows::Same) | None => {}
    }
    if patches > 0 {
        found.push(Loss::Patches { parts: patches });
    }
    match &live.elsewhere {
        PartsElsewhere::Listed(parts) => {
            let in_scope: Vec<&PartState> = parts.iter().filter(|part| scope.holds(part)).collect();
            if let Some(first) = in_scope.first() {
                found.push(Loss::PartsElsewhere { parts: in_scope.len() as u64, first: first.name.to_string() });
            }
        }
        PartsElsewhere::Unknown(reason) if scope.is_any() => {
            found.push(Loss::UnknownElsewhere { reason: reason.clone() });
        }
        PartsElsewhere::Unknown(_) => {}
    }
    // A mutation of the same table comes back with the snapshot. For another table, an equal id proves nothing.
    let is_same_table = live.uuid.is_some() && live.uuid.as_ref() == stored.uuid;
    let comes_back = |id: &String| is_same_table && stored.mutations.contains(id);
    let ids: Vec<String> = live.unfinished_mutations.iter().filter(|id| !comes_back(id)).cloned().collect();
    if !ids.is_empty() && in_scope > 0 {
        found.push(Loss::Mutations { ids });
    }
    if scope == ReplacedScope::Table {
        match &live.detached {
            DetachedParts::Listed(names) => {
                if let Some(first) = names.first() {
                    found.push(Loss::DetachedParts { parts: names.len() as u64, first: first.clone() });
                }
            }
            DetachedParts::Unreadable(reason) => {
                found.push(Loss::UnreadableDetached { reason: reason.clone() });
            }
        }
        if !stored.has_same_definition {
            found.push(Loss::Definition);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Loss, ReplacedScope, Stored, losses};
    use crate::model::{PartitionId, TableUuid};
    use crate::plan::restore::compare::{PartState, sample_part as part};
    use crate::plan::restore::target::{DetachedParts, TargetTable};

    fn uuid() -> TableUuid {
        TableUuid::try_from("00000001-0000-4000-8000-000000000000".to_owned()).expect("a UUID")
    }

    fn table(parts: Vec<PartState>) -> TargetTable {
        TargetTable { uuid: Some(uuid()), engine: "MergeTree".to_owned(), parts, ..TargetTable::default() }
    }

    fn kinds(live: &TargetTable, stored: &[PartState], scope: ReplacedScope<'_>) -> Vec<&'static str> {
        let uuid = uuid();
        let stored = Stored { uuid: Some(&uuid), parts: stored, mutations: &[], has_same_definition: true };
        losses(live, stored, scope).iter().map(Loss::kind).collect()
    }

    #[test]
    fn rows_that_were_inserted_once_more_are_a_loss() {
        let stored = [part("1_1_1_0", "1", 1, 5)];
        let twice = table(vec![stored[0].clone(), part("1_2_2_0", "1", 1, 5)]);
        let one = BTreeSet::from([PartitionId("1".into())]);
        for scope in [ReplacedScope::Table, ReplacedScope::AllPartitions, ReplacedScope::Partitions(&one)] {
            assert_eq!(kinds(&twice, &stored, scope), ["parts"], "{scope:?}");
        }
        assert!(kinds(&twice, &twice.parts, ReplacedScope::Table).is_empty());
    }

    #[test]
    fn parts_that_the_snapshot_has_are_no_loss_and_others_are() {
        let stored = [part("1_1_1_0", "1", 1, 5), part("2_2_2_0", "2", 2, 5)];
        assert!(kinds(&table(stored.to_vec()), &stored, ReplacedScope::Table).is_empty());
        let more = table(vec![stored[0].clone(), part("2_3_3_0", "2", 3, 7)]);
        assert_eq!(kinds(&more, &stored, ReplacedScope::Table), ["parts"]);
        let one = BTreeSet::from([PartitionId("1".into())]);
        assert!(kinds(&more, &stored, ReplacedScope::Partitions(&one)).is_empty(), "the other partition stays");
        let unknown = PartState { fingerprint: None, ..stored[0].clone() };
        assert_eq!(
            kinds(&table(vec![unknown]), &stored, ReplacedScope::Table),
            ["parts"],
            "what is not known is not equal"
        );
        let moved = PartState { partition: PartitionId("2".into()), ..stored[0].clone() };
        assert_eq!(kinds(&table(vec![moved]), &stored, ReplacedScope::Table), ["parts"]);
        let empty = table(vec![part("2_3_3_0", "2", 3, 0)]);
        assert!(kinds(&empty, &stored, ReplacedScope::Table).is_empty());
    }

    #[test]
    fn patches_belong_to_the_partition_that_they_change() {
        let hash = "0123456789abcdef0123456789abcdef";
        let stored = [part("2_1_1_0", "2", 1, 5)];
        let patch = |partition: &str| {
            let id = format!("patch-{hash}-{partition}");
            part(&format!("{id}_3_3_0"), &id, 9, 1)
        };
        let live = table(vec![stored[0].clone(), patch("2")]);
        let two = BTreeSet::from([PartitionId("2".into())]);
        assert_eq!(kinds(&live, &stored, ReplacedScope::Partitions(&two)), ["patches"]);
        let live = table(vec![stored[0].clone(), patch("-2-2")]);
        assert!(kinds(&live, &stored, ReplacedScope::Partitions(&two)).is_empty(), "that is the partition -2-2");
        let with_patch = [stored[0].clone(), patch("2")];
        assert!(kinds(&table(with_patch.to_vec()), &with_patch, ReplacedScope::Table).is_empty());
    }

    #[test]
    fn mutations_detached_parts_and_the_definition_go_with_the_table() {
        let stored = [part("2_1_1_0", "2", 1, 5)];
        let mut live = table(stored.to_vec());
        live.unfinished_mutations = vec!["mutation_2.txt".to_owned()];
        let two = BTreeSet::from([PartitionId("2".into())]);
        assert_eq!(kinds(&live, &stored, ReplacedScope::Partitions(&two)), ["mutations"]);
        let three = BTreeSet::from([PartitionId("3".into())]);
        assert!(kinds(&live, &stored, ReplacedScope::Partitions(&three)).is_empty(), "it changes nothing there");
        let uuid = uuid();
        let mutations = live.unfinished_mutations.clone();
        let same = Stored { uuid: Some(&uuid), parts: &stored, mutations: &mutations, has_same_definition: false };
        assert_eq!(losses(&live, same, ReplacedScope::Table), [Loss::Definition], "the mutation comes back");
        let other = Stored { uuid: None, ..same };
        assert_eq!(
            losses(&live, other, ReplacedScope::Partitions(&two)).len(),
            1,
            "an equal id of another table is no mutation"
        );
        let mut empty = table(Vec::new());
        empty.detached = DetachedParts::Listed(vec!["2_1_1_0".to_owned()]);
        assert_eq!(kinds(&empty, &stored, ReplacedScope::Table), ["detached_parts"]);
        assert!(kinds(&empty, &stored, ReplacedScope::AllPartitions).is_empty(), "the table keeps its detached/");
        empty.detached = DetachedParts::Unreadable("no permission".to_owned());
        assert_eq!(kinds(&empty, &stored, ReplacedScope::Table), ["unreadable_detached"]);
    }
}
