//! The queries and statements of a restore.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::model::{Fingerprint, PartName, PartitionId, TableName};

use super::databases::{databases, remote};
use super::error::ServerError;
use super::freeze::CLEANING;
use super::rows::{flag, number};
use super::sql;
use super::transport::{QueryOptions, Request, Server};

#[derive(Deserialize)]
struct StoragePolicyRow {
    policy_name: String,
    disks: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct TextRow {
    pub(super) text: String,
}

/// A part that the server lists, active or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Its name.
    pub name: PartName,
    /// Its partition.
    pub partition: PartitionId,
    /// Rows.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The server's own fingerprint of it, if it gives one.
    pub fingerprint: Option<Fingerprint>,
    /// Whether its rows count.
    pub is_active: bool,
}

#[derive(Deserialize)]
struct ListedRow {
    name: String,
    partition_id: String,
    #[serde(deserialize_with = "number")]
    rows: u64,
    #[serde(deserialize_with = "number")]
    bytes_on_disk: u64,
    hash_of_all_files: String,
    #[serde(deserialize_with = "flag")]
    active: bool,
}

/// The disks of each storage policy in the order of its volumes; `None` if the server has no storage policies.
///
/// # Errors
/// If the server does not answer.
pub fn storage_policies(server: &Server) -> Result<Option<BTreeMap<String, Vec<String>>>, ServerError> {
    if !server.features().has_table("storage_policies") {
        return Ok(None);
    }
    let mut policies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in server.list::<StoragePolicyRow>(&sql::storage_policies())? {
        policies.entry(row.policy_name).or_default().extend(row.disks);
    }
    Ok(Some(policies))
}

/// UUIDs of tables that were dropped but still exist internally, or that are detached. Tables of remote databases are
/// left out.
///
/// # Errors
/// If the server does not answer.
pub fn hidden_uuids(server: &Server) -> Result<Vec<String>, ServerError> {
    let databases = databases(server)?;
    let mut uuids = Vec::new();
    for table in ["dropped_tables", "detached_tables"] {
        if server.features().has_column(table, "uuid") {
            uuids.extend(
                server.list::<TextRow>(&sql::uuids(table, &remote(&databases)))?.into_iter().map(|row| row.text),
            );
        }
    }
    Ok(uuids)
}

/// Names of named collections; empty if the server has none, or does not list them.
#[must_use]
pub fn named_collections(server: &Server) -> Vec<String> {
    if !server.features().has_table("named_collections") {
        return Vec::new();
    }
    let rows = server.list::<TextRow>(&sql::names("named_collections")).unwrap_or_default();
    rows.into_iter().map(|row| row.text).collect()
}

/// All parts of one table.
///
/// # Errors
/// If the server does not answer.
pub fn parts_of(server: &Server, table: &TableName) -> Result<Vec<ListedPart>, ServerError> {
    let rows: Vec<ListedRow> = server.list(&sql::parts_of(server.features(), table))?;
    let listed = rows.into_iter().filter_map(|row| {
        Some(ListedPart {
            name: PartName::try_from(row.name).ok()?,
            partition: PartitionId(row.partition_id.into()),
            rows: row.rows,
            bytes: row.bytes_on_disk,
            fingerprint: row.hash_of_all_files.parse().ok(),
            is_active: row.active,
        })
    });
    Ok(listed.collect())
}

/// The properties of a table that its parts must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Types of the columns that parts store, by name.
    pub columns: BTreeMap<String, String>,
    /// The partition key, the sorting key and the primary key, as the server prints them.
    pub keys: [String; 3],
    /// The table's engine.
    pub engine: String,
}

#[derive(Deserialize)]
struct KeysRow {
    engine: String,
    partition_key: String,
    sorting_key: String,
    primary_key: String,
}

#[derive(Deserialize)]
struct TableColumnRow {
    name: String,
    r#type: String,
    default_kind: String,
}

/// The properties of a table that its parts must match; `None` if the server has no such table, or does not report its
/// keys.
///
/// # Errors
/// If the server does not answer.
pub fn shape_of(server: &Server, table: &TableName) -> Result<Option<TableShape>, ServerError> {
    if !server.features().has_column("tables", "sorting_key") {
        return Ok(None);
    }
    let Some(keys) = server.list::<KeysRow>(&sql::keys_of(table))?.pop() else { return Ok(None) };
    let columns = server.list::<TableColumnRow>(&sql::columns_of(table))?.into_iter();
    let stored = columns.filter(|column| !matches!(&*column.default_kind, "ALIAS" | "EPHEMERAL"));
    Ok(Some(TableShape {
        columns: stored.map(|column| (column.name, column.r#type)).collect(),
        keys: [keys.partition_key, keys.sorting_key, keys.primary_key],
        engine: keys.engine,
    }))
}

/// The number of a table's mutations that are not done.
///
/// # Errors
/// If the server does not answer.
pub fn unfinished_mutations(server: &Server, table: &TableName) -> Result<u64, ServerError> {
    server.count(&sql::undone_mutations(table), server.asking(&[]))
}

/// The number of running statements that contain this word.
///
/// # Errors
/// If the server does not answer.
pub fn running_with(server: &Server, word: &str) -> Result<u64, ServerError> {
    server.count(&sql::running_with(word), QueryOptions { settings: &[], deadline: CLEANING, interruptible: false })
}

/// A statement that changes the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerChange<'a> {
    /// The statement.
    pub sql: &'a str,
    /// Settings of this statement alone.
    pub settings: &'a [(&'a str, String)],
    /// The name for errors and logs, if the statement's text may contain secrets.
    pub label: Option<&'a str>,
}

/// Runs a statement that creates, attaches, renames or drops something; it may take as long as a freeze.
///
/// # Errors
/// If the server refuses, or does not answer in time: then it may still be executing the statement.
pub fn change(server: &Server, change: ServerChange<'_>) -> Result<(), ServerError> {
    let ServerChange { sql, settings, label } = change;
    let deadline = server.freeze_deadline();
    // Not interruptible: a statement that goes on without us could not be reverted.
    server.execute(&Request { sql, settings, query_id: None, deadline, interruptible: false, label })
}

/// Whether statements may carry all of these settings.
///
/// # Errors
/// If the server does not answer.
pub fn has_settings(server: &Server, names: &[&str]) -> Result<bool, ServerError> {
    Ok(server.count(&sql::settings(names), server.asking(&[]))? == names.len() as u64)
}

/// UUIDs of all tables, including those of the server's own databases; empty if tables have no UUIDs. Tables of remote
/// databases are left out.
///
/// # Errors
/// If the server does not answer.
pub fn table_uuids(server: &Server) -> Result<Vec<String>, ServerError> {
    if !server.features().has_column("tables", "uuid") {
        return Ok(Vec::new());
    }
    let databases = databases(server)?;
    let list = sql::uuids("tables", &remote(&databases));
    Ok(server.list::<TextRow>(&list)?.into_iter().map(|row| row.text).collect())
}

/// The given settings of MergeTree tables that the server knows.
///
/// # Errors
/// If the server does not answer.
pub fn merge_tree_settings(server: &Server, names: &[&str]) -> Result<BTreeSet<String>, ServerError> {
    if !server.features().has_table("merge_tree_settings") {
        return Ok(BTreeSet::new());
    }
    let known = server.list::<TextRow>(&sql::names("merge_tree_settings"))?.into_iter().map(|row| row.text);
    Ok(known.filter(|name| names.contains(&name.as_str())).collect())
}

#[derive(Deserialize)]
struct ChangedSettingRow {
    name: String,
    value: String,
}

/// Settings under which a server accepts any definition that another one accepted: without limits on its size, and with
/// everything suspicious, experimental or deprecated allowed. Only those that the server knows.
///
/// # Errors
/// If the server does not answer.
pub fn definition_settings(server: &Server) -> Result<Vec<(String, String)>, ServerError> {
    const VALUES: [(&str, &str); 9] = [
        ("max_query_size", "268435456"),
        ("max_ast_elements", "100000000"),
        ("max_expanded_ast_elements", "100000000"),
        ("max_ast_depth", "100000"),
        ("max_parser_depth", "10000"),
        ("max_parser_backtracks", "1000000000"),
        ("flatten_nested", "0"),
        ("data_type_default_nullable", "0"),
        ("allow_materialized_view_with_bad_select", "1"),
    ];
    let mut settings = Vec::new();
    for row in server.list::<ChangedSettingRow>(&sql::definition_settings())? {
        if let Some((_, value)) = VALUES.iter().find(|(name, _)| *name == row.name) {
            settings.push((row.name, (*value).to_owned()));
        } else if matches!(row.value.as_str(), "0" | "1") && !VALUES.iter().any(|(name, _)| *name == row.name) {
            settings.push((row.name, "1".to_owned()));
        }
    }
    Ok(settings)
}
