//! The statements of one restore, each with the restore's word in it.

use crate::model::TableName;
use crate::ops::error::OpError;
use crate::server::{self, Change, Server, ServerError, sql};

/// Settings that lift the size over which a server refuses to drop a table, or to replace or drop a partition.
const DROP_LIMITS: [&str; 2] = ["max_table_size_to_drop", "max_partition_size_to_drop"];

/// Whether the server lets a statement lift its limits on what is dropped.
///
/// # Errors
/// If the server does not answer.
pub(super) fn lifts_drop_limit(server: &Server) -> Result<bool, ServerError> {
    for name in DROP_LIMITS {
        if !server::has_setting(server, name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sends statements that change the server.
///
/// Each carries the name of the restore's staging directory in a comment: the next restore finds in `system.processes`
/// what the server is still at when this one was killed, and waits for it.
#[derive(Debug)]
pub(in crate::ops) struct Statements<'a> {
    pub(super) server: &'a Server,
    word: String,
    limits: Vec<(&'static str, String)>,
}

impl<'a> Statements<'a> {
    /// Statements with this word.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(in crate::ops) fn new(server: &'a Server, word: &str) -> Result<Self, ServerError> {
        let limits = if lifts_drop_limit(server)? {
            DROP_LIMITS.map(|name| (name, "0".to_owned())).to_vec()
        } else {
            Vec::new()
        };
        Ok(Self { server, word: word.to_owned(), limits })
    }

    /// Runs a statement of chsnap's own.
    ///
    /// # Errors
    /// If the server refuses, or does not answer in time: then it may still be at it.
    pub(in crate::ops) fn run(&self, statement: &str) -> Result<(), ServerError> {
        self.run_with(statement, &[])
    }

    /// [`Statements::run`] with settings.
    ///
    /// # Errors
    /// As there.
    pub(in crate::ops) fn run_with(&self, statement: &str, settings: &[(&str, String)]) -> Result<(), ServerError> {
        let sql = self.tagged(statement);
        server::change(self.server, Change { sql: &sql, settings, label: None })
    }

    /// Runs a statement that comes from a snapshot. Its text may hold secrets: errors and logs call it `label`.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(super) fn run_definition(
        &self,
        label: &str,
        statement: &str,
        settings: &[(&str, String)],
    ) -> Result<(), ServerError> {
        let sql = self.tagged(statement);
        server::change(self.server, Change { sql: &sql, settings, label: Some(label) })
    }

    /// Runs a statement that drops or replaces data, whatever its size where the server lets it.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(super) fn run_unlimited(&self, statement: &str) -> Result<(), ServerError> {
        self.run_with(statement, &self.limits)
    }

    /// Drops a table; in databases that put it off, at once.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(in crate::ops) fn drop_table(&self, table: &TableName, at_once: bool) -> Result<(), ServerError> {
        let sync = if at_once { " SYNC" } else { "" };
        self.run_unlimited(&format!("DROP TABLE IF EXISTS {}{sync}", sql::quote_table(table)))
    }

    pub(super) fn rename(&self, from: &TableName, to: &TableName) -> Result<(), OpError> {
        Ok(self.run(&format!("RENAME TABLE {} TO {}", sql::quote_table(from), sql::quote_table(to)))?)
    }

    fn tagged(&self, statement: &str) -> String {
        format!("/* {} */ {statement}", self.word)
    }
}
