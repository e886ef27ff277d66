//! Information that a server gives about Keeper, and about its replicated tables.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use serde::Deserialize;

use crate::model::TableName;

use super::error::ServerError;
use super::hosts::asks_all_replicas;
use super::restore::TextRow;
use super::rows::{flag, number};
use super::sql;
use super::transport::{QueryOptions, Server};

/// How long a host may take to accept a connection.
const CONNECTS: Duration = Duration::from_secs(1);

/// A node of Keeper.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeeperNode {
    /// Its name, without its path.
    pub name: String,
    /// Its content.
    pub value: String,
    /// The number of the change that created it: Keeper numbers all changes consecutively.
    #[serde(deserialize_with = "number")]
    pub created: u64,
}

/// The state of a replicated table relative to its other replicas. Read from Keeper.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReplicaStatus {
    /// Whether writes to it are refused.
    #[serde(deserialize_with = "flag")]
    pub is_readonly: bool,
    /// Replicas that Keeper knows.
    #[serde(deserialize_with = "number")]
    pub total_replicas: u64,
    /// Those of them that have a session.
    #[serde(deserialize_with = "number")]
    pub active_replicas: u64,
    /// Entries of its queue that are not processed yet.
    #[serde(deserialize_with = "number")]
    pub queue_size: u64,
}

/// A table that was dropped but still exists internally.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DroppedRow {
    /// The host that has dropped it.
    pub host: String,
    /// Its database.
    pub database: String,
    /// The name that it had.
    pub table: String,
    /// Its UUID.
    pub uuid: String,
    /// Its engine.
    pub engine: String,
    /// When it will be deleted: seconds since 1970.
    #[serde(deserialize_with = "number")]
    pub gone_at: u64,
}

#[derive(Deserialize)]
struct KeeperSettingRow {
    name: String,
    value: String,
}

/// Path and name of replicas whose engine names none, with macros, if the server reports them.
///
/// # Errors
/// If the server does not answer.
pub fn default_replica(server: &Server) -> Result<Option<(String, String)>, ServerError> {
    if !server.features().has_table("server_settings") {
        return Ok(None);
    }
    let rows = server.list::<KeeperSettingRow>(&sql::default_replica())?;
    let value = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.value.clone());
    Ok(value("default_replica_path").zip(value("default_replica_name")))
}

/// The state of a replicated table; `None` if the server has no such table.
///
/// # Errors
/// If the server does not answer.
pub fn replica_status(server: &Server, table: &TableName) -> Result<Option<ReplicaStatus>, ServerError> {
    if !server.features().has_table("replicas") {
        return Ok(None);
    }
    let rows: Vec<ReplicaStatus> = server.listed(&sql::replica_status(table), server.asking(&[]))?;
    Ok(rows.into_iter().next())
}

/// Whether the server shows the content of Keeper.
#[must_use]
pub fn shows_keeper(server: &Server) -> bool {
    server.features().has_table("zookeeper")
}

/// The nodes below an existing node.
///
/// # Errors
/// If the server or Keeper does not answer, or there is no such node.
pub fn keeper_nodes(server: &Server, path: &str) -> Result<Vec<KeeperNode>, ServerError> {
    server.listed(&sql::keeper_nodes(path), server.asking(&[]))
}

/// Whether the server can remove another replica from Keeper: `SYSTEM DROP REPLICA`.
///
/// # Errors
/// If the server does not answer.
pub fn drops_replicas(server: &Server) -> Result<bool, ServerError> {
    if !server.features().has_table("privileges") {
        return Ok(false);
    }
    Ok(server.count(&sql::privilege("SYSTEM DROP REPLICA"), server.asking(&[]))? > 0)
}

/// Tables that were dropped but still exist internally. Only this server is queried.
///
/// # Errors
/// If the server does not answer.
pub fn dropped_tables(server: &Server) -> Result<Vec<DroppedRow>, ServerError> {
    if !server.features().has_column("dropped_tables", "table_dropped_time") {
        return Ok(Vec::new());
    }
    server.list(&sql::dropped_tables())
}

/// Names of the clusters that have several hosts and of which this server is one.
///
/// # Errors
/// If the server does not answer.
pub fn own_clusters(server: &Server) -> Result<Vec<String>, ServerError> {
    if !server.features().has_column("clusters", "is_local") {
        return Ok(Vec::new());
    }
    let rows: Vec<TextRow> = server.listed(&sql::own_clusters(), server.asking(&[]))?;
    Ok(rows.into_iter().map(|row| row.text).collect())
}

/// Whether a service accepts connections at `host:port` within a second, as this host sees it.
#[must_use]
pub fn is_reachable(address: &str) -> bool {
    let addresses = address.to_socket_addrs().inspect_err(|error| tracing::debug!(%error, address, "no address"));
    addresses.is_ok_and(|mut found| found.any(|one| TcpStream::connect_timeout(&one, CONNECTS).is_ok()))
}

/// Names of the clusters that the server is configured with.
///
/// # Errors
/// If the server does not answer.
pub fn clusters(server: &Server) -> Result<Vec<String>, ServerError> {
    if !server.features().has_table("clusters") {
        return Ok(Vec::new());
    }
    let rows = server.list::<TextRow>(&sql::clusters())?;
    let mut names: Vec<String> = rows.into_iter().map(|row| row.text).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// [`dropped_tables`] of the other hosts of this server's clusters; hosts that do not answer are left out.
#[must_use]
pub fn dropped_elsewhere(server: &Server) -> Vec<DroppedRow> {
    let features = server.features();
    if !features.has_column("dropped_tables", "table_dropped_time") {
        return Vec::new();
    }
    let skips = [("skip_unavailable_shards", "1".to_owned())];
    let asking = QueryOptions { settings: &skips, ..server.asking(&[]) };
    let read = || -> Result<Vec<DroppedRow>, ServerError> {
        if !asks_all_replicas(server)? {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for cluster in own_clusters(server)? {
            let sql = sql::dropped_in_cluster(&cluster);
            let answer = server.rows_of::<DroppedRow>(&super::transport::asked(&sql, asking));
            rows.extend(
                answer.inspect_err(|error| tracing::debug!(%error, "a cluster does not answer")).unwrap_or_default(),
            );
        }
        Ok(rows)
    };
    read().inspect_err(|error| tracing::debug!(%error, "clusters are not known")).unwrap_or_default()
}
