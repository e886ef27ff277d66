//! The statements of one restore, each with the restore's word in it.

use crate::model::TableName;
use crate::ops::error::OpError;
use crate::plan::cleanse;
use crate::server::{self, Change, Server, ServerError, sql};

/// Settings that lift the size over which a server refuses to drop a table, or to replace or drop a partition.
const DROP_LIMITS: [&str; 2] = ["max_table_size_to_drop", "max_partition_size_to_drop"];

/// Whether the server lets a statement lift its limits on what is dropped.
///
/// # Errors
/// If the server does not answer.
pub(in crate::ops) fn lifts_drop_limit(server: &Server) -> Result<bool, ServerError> {
    server::has_settings(server, &DROP_LIMITS)
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

    /// Statements to the same server with another word.
    pub(super) fn with_word(&self, word: &str) -> Self {
        Self { server: self.server, word: word.to_owned(), limits: self.limits.clone() }
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

    /// Runs a statement that comes from a snapshot. Errors and logs call it `label`, and what the server says of it is
    /// cleansed of its `secrets`.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(super) fn run_definition(
        &self,
        label: &str,
        statement: &str,
        settings: &[(&str, String)],
        secrets: &[String],
    ) -> Result<(), ServerError> {
        let sql = self.tagged(statement);
        let result = server::change(self.server, Change { sql: &sql, settings, label: Some(label) });
        result.map_err(|error| without_text(error, secrets))
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

/// `SYNTAX_ERROR`: the server repeats the statement from there on.
const SYNTAX_ERROR: i32 = 62;

/// An exception without the text of the statement that it is about.
fn without_text(error: ServerError, secrets: &[String]) -> ServerError {
    match error {
        ServerError::Exception { code: SYNTAX_ERROR, query, .. } => {
            let message = format!("Code: {SYNTAX_ERROR}. The server does not parse it (SYNTAX_ERROR)");
            ServerError::Exception { code: SYNTAX_ERROR, query, message }
        }
        ServerError::Exception { code, query, message } => {
            ServerError::Exception { code, query, message: cleanse(&message, secrets) }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::without_text;
    use crate::server::ServerError;

    #[test]
    fn no_message_repeats_a_statement_or_a_secret() {
        let error = |code, message: &str| ServerError::Exception {
            code,
            query: "named collection nc".to_owned(),
            message: message.to_owned(),
        };
        let secrets = ["s3cr3t".to_owned()];
        let syntax = without_text(error(62, "Syntax error: failed at position 9: 's3cr3t'"), &secrets).to_string();
        let other = without_text(error(36, "Bad argument 's3cr3t' of table x"), &secrets).to_string();
        assert!(!syntax.contains("s3cr3t") && !other.contains("s3cr3t"), "{syntax} {other}");
        assert!(syntax.contains("named collection nc") && other.contains("of table x"), "{syntax} {other}");
    }
}
