//! Replicated tables that differ from their peers.

use std::time::Duration;

use crate::model::{TableName, Warning, WarningKind, count, span};
use crate::plan::{ReplicaEvidence, judge_replicas};
use crate::server::{self, Server};

use super::{Findings, chain, lists_remedy};

/// The largest number of tables that a finding names; of more it gives only the number.
const NAMED: usize = 5;

/// Examines the replicated tables of a server; finds nothing on a server without any.
pub(super) fn examine(server: &Server, max_delay: Duration, findings: &mut Findings) {
    let replicas = match server::replicas(server) {
        Ok(replicas) => replicas,
        Err(error) => {
            let message = format!("it is not known whether replicated tables are behind: {}", chain(&error));
            findings.warn("replicas", message, lists_remedy(&error));
            return;
        }
    };
    if replicas.is_empty() {
        return;
    }
    let evidence = ReplicaEvidence { earlier_queue: &[], replicas: &replicas, queue: &[], max_delay };
    let warnings = judge_replicas(&evidence);
    if warnings.is_empty() {
        let message =
            format!("{}, none read-only or behind its peers", count(replicas.len() as u64, "replicated table"));
        findings.ok("replicas", message);
        return;
    }
    let of = |kind: WarningKind| warnings.iter().filter(move |warning| warning.kind == kind);
    let read_only: Vec<&Warning> = of(WarningKind::ReplicaReadOnly).collect();
    if !read_only.is_empty() {
        let what = format!("{} read-only or without a session", tables(&read_only));
        findings.warn(
            "replicas",
            what,
            "see that the server reaches Keeper; SYSTEM RESTART REPLICA makes a new session",
        );
    }
    let behind: Vec<&Warning> = of(WarningKind::ReplicaBehind).collect();
    if !behind.is_empty() {
        let limit = span(max_delay);
        let what = format!("{} more than {limit} behind its peers", tables(&behind));
        findings.warn("replicas", what, "system.replication_queue has what it waits for");
    }
}

fn tables(warnings: &[&Warning]) -> String {
    let names: Vec<String> =
        warnings.iter().filter_map(|warning| warning.table.as_ref()).map(TableName::to_string).collect();
    match names.as_slice() {
        [name] => format!("{name} is"),
        names if names.len() <= NAMED => format!("{} are", names.join(", ")),
        names => format!(
            "{} and {} more are",
            names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "),
            names.len() - NAMED
        ),
    }
}
