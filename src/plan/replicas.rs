//! Judges whether replicated tables match their peers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{QueueEntry, Replica, TableName, Warning, WarningKind, span, thousands};

/// The state of a server's replicated tables after they had time to catch up.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaEvidence<'a> {
    /// The queues before that.
    pub earlier_queue: &'a [QueueEntry],
    /// The tables after it.
    pub replicas: &'a [Replica],
    /// The queues after it.
    pub queue: &'a [QueueEntry],
    /// The largest delay of a table behind its peers without a warning.
    pub max_delay: Duration,
}

/// Entries that were in the queue of a table earlier and still are, counting only those that bring data. A queue with
/// other entries is merely busy.
pub fn stale_entries<'a>(
    table: &'a TableName,
    earlier: &'a [QueueEntry],
    queue: &'a [QueueEntry],
) -> impl Iterator<Item = &'a QueueEntry> {
    let of_table = move |entry: &&QueueEntry| entry.table == *table && entry.brings_data();
    let known: BTreeSet<&str> = earlier.iter().filter(of_table).map(|entry| entry.node.as_str()).collect();
    queue.iter().filter(of_table).filter(move |entry| known.contains(entry.node.as_str()))
}

/// The warnings about each table.
#[must_use]
pub fn judge_replicas(evidence: &ReplicaEvidence<'_>) -> Vec<Warning> {
    evidence.replicas.iter().flat_map(|replica| judge_replica(replica, evidence)).collect()
}

fn judge_replica(replica: &Replica, evidence: &ReplicaEvidence<'_>) -> Vec<Warning> {
    let (table, name) = (&replica.table, &replica.name);
    if replica.is_read_only || replica.has_lost_session {
        let how = match (replica.is_read_only, replica.has_lost_session) {
            (true, true) => "is read-only and has lost its session with Keeper",
            (true, false) => "is read-only",
            _ => "has lost its session with Keeper",
        };
        let message = format!("{table}: replica {name} {how}: what its peers have got since then is not here");
        return vec![Warning::of_table(WarningKind::ReplicaReadOnly, table, message)];
    }
    let mut warnings = Vec::new();
    let stale: Vec<&QueueEntry> = stale_entries(table, evidence.earlier_queue, evidence.queue).collect();
    if let Some(first) = stale.first() {
        let why = first.exception.lines().next().unwrap_or_default();
        let why = if why.is_empty() { String::new() } else { format!(": {why:.200}") };
        let message = format!(
            "{table}: replica {name} still has {} to do that it had before the snapshot, first {} {}{why}; what they bring \
             is not in the snapshot",
            if stale.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", thousands(stale.len() as u64)) },
            first.kind,
            first.part,
        );
        warnings.push(Warning::of_table(WarningKind::ReplicaBehind, table, message));
    }
    if replica.delay_secs > evidence.max_delay.as_secs() {
        let message = format!(
            "{table}: replica {name} is {} behind its peers, more than {}",
            span(Duration::from_secs(replica.delay_secs)),
            span(evidence.max_delay)
        );
        warnings.push(Warning::of_table(WarningKind::ReplicaBehind, table, message));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ReplicaEvidence, judge_replicas};
    use crate::model::{QueueEntry, Replica, TableName, WarningKind};

    fn replica(table: &str) -> Replica {
        Replica {
            table: TableName::new("d", table),
            keeper_path: format!("/t/{table}"),
            name: "r1".to_owned(),
            is_read_only: false,
            has_lost_session: false,
            delay_secs: 0,
        }
    }

    fn entry(table: &str, node: u32, kind: &str) -> QueueEntry {
        QueueEntry {
            table: TableName::new("d", table),
            node: format!("queue-{node}"),
            kind: kind.to_owned(),
            part: "all_0_0_0".to_owned(),
            exception: String::new(),
        }
    }

    fn kinds(replicas: &[Replica], earlier: &[QueueEntry], queue: &[QueueEntry]) -> Vec<(String, WarningKind)> {
        let max_delay = Duration::from_secs(300);
        let evidence = ReplicaEvidence { earlier_queue: earlier, replicas, queue, max_delay };
        let row = |warning: crate::model::Warning| (warning.table.expect("a table").table, warning.kind);
        judge_replicas(&evidence).into_iter().map(row).collect()
    }

    #[test]
    fn only_entries_from_before_the_snapshot_are_a_warning() {
        let both = [replica("a"), replica("b")];
        let earlier = [entry("a", 1, "GET_PART"), entry("b", 2, "GET_PART"), entry("b", 3, "MERGE_PARTS")];
        let queue = [entry("a", 1, "GET_PART"), entry("b", 3, "MERGE_PARTS"), entry("b", 4, "GET_PART")];
        assert_eq!(kinds(&both, &earlier, &queue), [("a".to_owned(), WarningKind::ReplicaBehind)]);
        // The same node of another table is another entry.
        assert_eq!(kinds(&both, &[entry("b", 1, "GET_PART")], &queue), []);
        assert_eq!(kinds(&both, &[], &queue), []);
    }

    #[test]
    fn a_replica_that_is_away_or_far_behind_is_a_warning() {
        let read_only = Replica { is_read_only: true, delay_secs: 999, ..replica("a") };
        let lost = Replica { has_lost_session: true, ..replica("b") };
        let late = Replica { delay_secs: 301, ..replica("c") };
        let in_time = Replica { delay_secs: 300, ..replica("d") };
        let expected = [
            ("a".to_owned(), WarningKind::ReplicaReadOnly),
            ("b".to_owned(), WarningKind::ReplicaReadOnly),
            ("c".to_owned(), WarningKind::ReplicaBehind),
        ];
        assert_eq!(kinds(&[read_only, lost, late, in_time], &[], &[]), expected);
    }
}
