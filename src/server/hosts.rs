//! Queries the hosts of a cluster about what they have. Changes nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::TableName;

use super::error::ServerError;
use super::list::List;
use super::rows::number;
use super::sql;
use super::transport::{QueryOptions, Server, asked};

/// The answers of the hosts of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswers<T> {
    /// The rows of each host that answered, by `host:port`.
    pub answers: BTreeMap<String, Vec<T>>,
    /// How many hosts do not answer, or refuse the query.
    pub silent: usize,
}

/// A replicated table of a host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostReplica {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Its path in Keeper.
    pub zookeeper_path: String,
    /// The name of its replica.
    pub replica_name: String,
}

impl HostReplica {
    /// Its full name.
    #[must_use]
    pub fn name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

#[derive(Deserialize)]
struct HostRow {
    host_name: String,
    #[serde(deserialize_with = "number")]
    port: u64,
}

#[derive(Deserialize)]
struct Hosted<T> {
    host: String,
    #[serde(flatten)]
    row: T,
}

#[derive(Deserialize)]
struct Named {
    host: String,
}

#[derive(Deserialize)]
struct NameRow {
    name: String,
}

#[derive(Deserialize)]
struct HostTableRow {
    database: String,
    table: String,
}

#[derive(Deserialize)]
struct UuidRow {
    database: String,
    table: String,
    uuid: String,
}

/// An active part of a table of a host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostPart {
    /// The database of its table.
    pub database: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its rows.
    #[serde(deserialize_with = "number")]
    pub rows: u64,
    /// A digest of its content, empty if the server does not report one.
    pub digest: String,
}

impl HostPart {
    /// The full name of its table.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// Whether the server has the table function `clusterAllReplicas`.
///
/// # Errors
/// If the server does not answer.
pub(super) fn asks_all_replicas(server: &Server) -> Result<bool, ServerError> {
    if !server.features().has_table("table_functions") {
        return Ok(false);
    }
    Ok(server.count(&sql::table_function("clusterAllReplicas"), server.asking(&[]))? > 0)
}

/// The databases that the hosts of a cluster have.
///
/// # Errors
/// If the server does not answer. A host that does not answer is part of the result.
pub fn databases_on_hosts(server: &Server, cluster: &str) -> Result<HostAnswers<String>, ServerError> {
    let found = ask::<NameRow>(server, cluster, &sql::database_names())?;
    Ok(found.map(|rows| rows.into_iter().map(|row| row.name).collect()))
}

/// The tables among these that the hosts of a cluster have.
///
/// # Errors
/// If the server does not answer. A host that does not answer is part of the result.
pub fn tables_on_hosts(
    server: &Server,
    cluster: &str,
    tables: &[TableName],
) -> Result<HostAnswers<TableName>, ServerError> {
    let found = ask::<HostTableRow>(server, cluster, &sql::tables_among(tables))?;
    Ok(found.map(|rows| rows.into_iter().map(|row| TableName::new(row.database, row.table)).collect()))
}

/// The UUIDs that these tables have on the hosts of a cluster.
///
/// # Errors
/// As [`tables_on_hosts`].
pub fn uuids_on_hosts(
    server: &Server,
    cluster: &str,
    tables: &[TableName],
) -> Result<HostAnswers<(TableName, String)>, ServerError> {
    let found = ask::<UuidRow>(server, cluster, &sql::uuids_among(tables))?;
    Ok(found.map(|rows| rows.into_iter().map(|row| (TableName::new(row.database, row.table), row.uuid)).collect()))
}

/// The tables that the hosts of a cluster have at these paths in Keeper.
///
/// # Errors
/// As [`tables_on_hosts`].
pub fn replicas_on_hosts(
    server: &Server,
    cluster: &str,
    paths: &[String],
) -> Result<HostAnswers<HostReplica>, ServerError> {
    ask(server, cluster, &sql::replicas_at(paths))
}

/// The active parts of these tables, by host.
///
/// # Errors
/// As [`tables_on_hosts`].
pub fn parts_on_hosts(
    server: &Server,
    cluster: &str,
    tables: &[TableName],
) -> Result<HostAnswers<HostPart>, ServerError> {
    ask(server, cluster, &sql::parts_of_tables(server.features(), tables))
}

impl<T> HostAnswers<T> {
    fn map<U>(self, change: impl Fn(Vec<T>) -> Vec<U>) -> HostAnswers<U> {
        let answers = self.answers.into_iter().map(|(host, rows)| (host, change(rows))).collect();
        HostAnswers { answers, silent: self.silent }
    }
}

fn ask<T: DeserializeOwned>(server: &Server, cluster: &str, list: &List) -> Result<HostAnswers<T>, ServerError> {
    let hosts: Vec<HostRow> = server.listed(&sql::cluster_hosts(cluster), server.asking(&[]))?;
    if asks_all_replicas(server)? {
        ask_all(server, (cluster, hosts.len()), list)
    } else {
        Ok(ask_each(server, &hosts, list))
    }
}

/// Queries all hosts in one statement, with the users of the cluster's configuration.
fn ask_all<T: DeserializeOwned>(
    server: &Server,
    (cluster, hosts): (&str, usize),
    list: &List,
) -> Result<HostAnswers<T>, ServerError> {
    let skips = [("skip_unavailable_shards", "1".to_owned())];
    let asking = QueryOptions { settings: &skips, ..server.asking(&[]) };
    let named: Vec<Named> = server.rows_of(&asked(&sql::answering_hosts(cluster), asking))?;
    let silent = hosts.saturating_sub(named.len());
    let mut answers: BTreeMap<String, Vec<T>> = named.into_iter().map(|named| (named.host, Vec::new())).collect();
    let sql = list.rows_from(&sql::all_replicas(cluster, list.table()), sql::HOST);
    for Hosted { host, row } in server.rows_of::<Hosted<T>>(&asked(&sql, asking))? {
        answers.entry(host).or_default().push(row);
    }
    Ok(HostAnswers { answers, silent })
}

/// Queries one host after another, as the default user of connections between servers: old servers have no other way.
fn ask_each<T: DeserializeOwned>(server: &Server, hosts: &[HostRow], list: &List) -> HostAnswers<T> {
    let mut found = HostAnswers { answers: BTreeMap::new(), silent: 0 };
    for HostRow { host_name, port } in hosts {
        let address = format!("{host_name}:{port}");
        let host = format!("{} AS host", sql::quote_text(&address));
        let sql = list.rows_from(&sql::remote(&address, list.table()), &host);
        match server.rows_of::<Hosted<T>>(&asked(&sql, server.asking(&[]))) {
            Ok(rows) => drop(found.answers.insert(address, rows.into_iter().map(|hosted| hosted.row).collect())),
            Err(error) => {
                tracing::debug!(%error, address, "a host of the cluster does not answer");
                found.silent += 1;
            }
        }
    }
    found
}
