//! Replicated tables before they are listed: they catch up with their peers as far as time allows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::model::{QueueEntry, Replica, TableName, Warning, WarningKind};
use crate::monitor::Stage;
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::plan::{ReplicaEvidence, TableSelection, judge_replicas, stale_entries};
use crate::server::{self, Server, ServerError, SyncMode};

use super::request::{Replicas, Request};

/// Tables that catch up concurrently.
const AT_ONCE: usize = 8;
/// The interval at which completion is checked.
const PAUSE: Duration = Duration::from_millis(200);

/// The replicated tables of a server, and the values of the macros in their definitions.
#[derive(Debug, Default)]
pub(super) struct Replication {
    pub(super) replicas: BTreeMap<TableName, Replica>,
    pub(super) macros: BTreeMap<String, String>,
    pub(super) warnings: Vec<Warning>,
}

/// Lets the replicated tables that are to be taken catch up, waits for their mutations if requested, and reports which
/// of them differ from their peers. If Keeper is unreachable they are taken all the same.
///
/// # Errors
/// If the program is asked to stop. A query that the server does not answer is a warning.
pub(super) fn synchronize(
    server: &Server,
    request: &Request,
    query_id: &str,
    stages: &Stages<'_>,
) -> Result<Replication, OpError> {
    let wanted = match wanted(server, &request.selection) {
        Ok(wanted) => wanted,
        Err(error) => return unknown(error),
    };
    if wanted.is_empty() {
        return Ok(Replication::default());
    }
    let Replicas { sync, wait_mutations, max_delay } = request.replicas;
    let wait = || {
        let queue = catch_up(server, &wanted, sync, query_id)?;
        wait_for_mutations(server, &wanted, wait_mutations)?;
        Ok(queue)
    };
    let earlier_queue = match stages.run(Stage::Sync, wait) {
        Ok(queue) => queue,
        Err(error) => return unknown(error),
    };
    examine(server, &request.selection, &earlier_queue, max_delay)
}

/// The replicated tables as they are, without waiting for anything.
///
/// # Errors
/// As [`synchronize`].
pub(super) fn replication(server: &Server, request: &Request) -> Result<Replication, OpError> {
    examine(server, &request.selection, &[], request.replicas.max_delay)
}

fn examine(
    server: &Server,
    selection: &TableSelection,
    earlier_queue: &[QueueEntry],
    max_delay: Duration,
) -> Result<Replication, OpError> {
    let look = || -> Result<_, ServerError> {
        let replicas = wanted(server, selection)?;
        let queue = if earlier_queue.is_empty() { Vec::new() } else { server::replication_queue(server)? };
        let macros = if replicas.is_empty() { BTreeMap::new() } else { server::macros(server)? };
        Ok((replicas, queue, macros))
    };
    let (replicas, queue, macros) = match look() {
        Ok(look) => look,
        Err(error) => return unknown(error),
    };
    let warnings = judge_replicas(&ReplicaEvidence { earlier_queue, replicas: &replicas, queue: &queue, max_delay });
    let replicas = replicas.into_iter().map(|replica| (replica.table.clone(), replica)).collect();
    Ok(Replication { replicas, macros, warnings })
}

/// Tables are taken even if nothing is known of their replicas.
fn unknown(error: ServerError) -> Result<Replication, OpError> {
    if matches!(error, ServerError::Interrupted) {
        return Err(error.into());
    }
    let message =
        format!("it is not known whether replicated tables are behind their peers: {}", crate::monitor::chain(&error));
    let warnings = vec![Warning::new(WarningKind::ReplicasUnknown, message)];
    Ok(Replication { warnings, ..Replication::default() })
}

fn wanted(server: &Server, selection: &TableSelection) -> Result<Vec<Replica>, ServerError> {
    let replicas = server::replicas(server)?;
    let names: Vec<TableName> = replicas.iter().map(|replica| replica.table.clone()).collect();
    let resolved = selection.resolved(&names.iter());
    Ok(replicas.into_iter().filter(|replica| resolved.wants(&replica.table)).collect())
}

/// Lets the tables catch up within this time. Returns the entries that were in their queues before.
fn catch_up(
    server: &Server,
    replicas: &[Replica],
    time: Duration,
    query_id: &str,
) -> Result<Vec<QueueEntry>, ServerError> {
    if time.is_zero() {
        return Ok(Vec::new());
    }
    let queue = server::replication_queue(server)?;
    let end = Instant::now() + time;
    // A table without Keeper has nothing to catch up with.
    let reachable: Vec<&Replica> =
        replicas.iter().filter(|replica| !replica.is_read_only && !replica.has_lost_session).collect();
    if reachable.is_empty() {
        return Ok(queue);
    }
    let (mode, next) = (server::sync_mode(server), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(reachable.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(replica) = reachable.get(number) else { return };
                    sync(server, &replica.table, mode, end, &format!("{query_id}-sync-{number}"));
                }
            });
        }
    });
    let interrupted = server.interrupted();
    // A user who may not run SYNC REPLICA waits all the same.
    let is_behind = |now: &[QueueEntry]| {
        reachable.iter().any(|replica| stale_entries(&replica.table, &queue, now).next().is_some())
    };
    while is_behind(&server::replication_queue(server)?) {
        if interrupted.load(Ordering::Relaxed) {
            return Err(ServerError::Interrupted);
        }
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(queue)
}

/// The remaining work is checked afterwards, whatever the server answers here.
fn sync(server: &Server, table: &TableName, mode: SyncMode, end: Instant, query_id: &str) {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return;
    }
    if let Err(error) = server::sync_replica(server, table, mode, query_id, left) {
        tracing::info!(%table, error = crate::monitor::chain(&error), "a replica has not caught up");
    }
}

/// Waits until the mutations that Keeper now has of these tables are done, and not for later ones.
fn wait_for_mutations(server: &Server, replicas: &[Replica], time: Duration) -> Result<(), ServerError> {
    if time.is_zero() {
        return Ok(());
    }
    let end = Instant::now() + time;
    let unfinished = || -> Result<Vec<(TableName, String)>, ServerError> {
        let mutations = server::mutations_in_keeper(server)?;
        Ok(mutations.into_iter().filter(|(table, _)| replicas.iter().any(|replica| replica.table == *table)).collect())
    };
    let awaited = unfinished()?;
    while unfinished()?.iter().any(|mutation| awaited.contains(mutation)) && Instant::now() < end {
        if server.interrupted().load(Ordering::Relaxed) {
            return Err(ServerError::Interrupted);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
