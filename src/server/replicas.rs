//! Replicated tables: how far each one is, and letting them catch up.
//!
//! Keeper may be unreachable, and a server can then take long for any query that involves Keeper. So nothing here
//! requests more than a server knows by itself, and each statement has a deadline of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{QueueEntry, Replica, TableName};

use super::error::ServerError;
use super::freeze::CLEANING;
use super::list::List;
use super::rows::{MacroRow, MutationRow, QueueRow, ReplicaRow};
use super::sql;
use super::transport::{QueryOptions, Request, Server};

/// How long a list may take that needs only the server itself.
const LISTING: Duration = Duration::from_secs(10);

/// The work that a table waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Parts that come from peers.
    Lightweight,
    /// Everything in the queue.
    Whole,
}

/// The replicated tables of a server; empty if it does not support them.
///
/// # Errors
/// If the server does not answer.
pub fn replicas(server: &Server) -> Result<Vec<Replica>, ServerError> {
    if !server.features().has_table("replicas") {
        return Ok(Vec::new());
    }
    let rows: Vec<ReplicaRow> = list(server, &sql::replicas())?;
    let replica = |row: ReplicaRow| Replica {
        table: TableName::new(row.database, row.table),
        keeper_path: row.zookeeper_path,
        name: row.replica_name,
        is_read_only: row.is_readonly,
        has_lost_session: row.is_session_expired,
        delay_secs: row.delay,
    };
    Ok(rows.into_iter().map(replica).collect())
}

/// The entries that replicated tables must process to match their peers.
///
/// # Errors
/// If the server does not answer.
pub fn replication_queue(server: &Server) -> Result<Vec<QueueEntry>, ServerError> {
    if !server.features().has_table("replication_queue") {
        return Ok(Vec::new());
    }
    // A queue changes all the time, so it is not compared with its count.
    let rows: Vec<QueueRow> = server.listed(&sql::replication_queue(), asking())?;
    let entry = |row: QueueRow| QueueEntry {
        table: TableName::new(row.database, row.table),
        node: row.node_name,
        kind: row.kind,
        part: row.new_part_name,
        exception: row.last_exception,
    };
    Ok(rows.into_iter().map(entry).collect())
}

/// Mutations of replicated tables that are not done: table and id.
///
/// # Errors
/// If the server does not answer.
pub fn mutations_in_keeper(server: &Server) -> Result<Vec<(TableName, String)>, ServerError> {
    if !server.features().has_table("mutations") {
        return Ok(Vec::new());
    }
    let rows: Vec<MutationRow> = server.listed(&sql::mutations_in_keeper(server.features()), asking())?;
    Ok(rows.into_iter().map(|row| (TableName::new(row.database, row.table), row.mutation_id)).collect())
}

/// The values of the names in braces in the definitions of replicated tables.
///
/// # Errors
/// If the server does not answer.
pub fn macros(server: &Server) -> Result<BTreeMap<String, String>, ServerError> {
    if !server.features().has_table("macros") {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<MacroRow> = list(server, &sql::macros())?;
    Ok(rows.into_iter().map(|row| (row.name, row.substitution)).collect())
}

/// The mode of waiting that this server supports: it parses a statement and runs none.
#[must_use]
pub fn sync_mode(server: &Server) -> SyncMode {
    match server.text(sql::KNOWS_LIGHTWEIGHT_SYNC) {
        Ok(_) => SyncMode::Lightweight,
        Err(_) => SyncMode::Whole,
    }
}

/// Lets a replicated table catch up with its peers. Old servers wait without an end: past the deadline the statement is
/// killed, if the server can do that.
///
/// # Errors
/// If the server refuses, or the table has not caught up by the deadline.
pub fn sync_replica(
    server: &Server,
    table: &TableName,
    mode: SyncMode,
    query_id: &str,
    deadline: Duration,
) -> Result<(), ServerError> {
    let settings = [("receive_timeout", deadline.as_secs().max(1).to_string())];
    let statement = match mode {
        SyncMode::Lightweight => sql::sync_replica_lightweight(table),
        SyncMode::Whole => sql::sync_replica(table),
    };
    let result = server.execute(&Request {
        sql: &statement,
        settings: &settings,
        query_id: Some(query_id),
        deadline,
        interruptible: true,
        label: None,
    });
    if result.as_ref().is_err_and(ServerError::may_still_run) {
        let kill = sql::kill_query(query_id);
        let request = Request {
            sql: &kill,
            settings: &[],
            query_id: None,
            deadline: CLEANING,
            interruptible: false,
            label: None,
        };
        if let Err(error) = server.execute(&request) {
            tracing::debug!(%error, %table, "a statement that lets a replica catch up may still run");
        }
    }
    result
}

fn list<T: serde::de::DeserializeOwned>(server: &Server, list: &List) -> Result<Vec<T>, ServerError> {
    server.list_by(list, asking())
}

fn asking() -> QueryOptions<'static> {
    QueryOptions { settings: &[], deadline: LISTING, interruptible: true }
}
