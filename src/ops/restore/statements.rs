//! The statements of one restore, each marked with the restore's word.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::TableName;
use crate::ops::error::OpError;
use crate::plan::{DefinitionKind, cleanse};
use crate::server::{self, Server, ServerChange, ServerError, code, sql};

/// Settings that lift the size limit above which a server refuses to drop a table, or to replace or drop a partition.
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
/// Each statement carries the name of the restore's staging directory in a comment. So after a kill, the next restore
/// finds the statements that the server still runs in `system.processes`, and waits for them.
#[derive(Debug)]
pub(in crate::ops) struct Statements<'a> {
    pub(super) server: &'a Server,
    word: String,
    limits: Vec<(&'static str, String)>,
    /// Whether the server knows [`HOST_WAIT`].
    knows_host_wait: bool,
    /// Whether a host of the cluster has not answered.
    misses_host: AtomicBool,
}

/// How long a statement for a cluster waits for its hosts, in seconds. After that it returns without the hosts that did
/// not answer, which find the statement in the queue.
const HOST_WAIT: &str = "distributed_ddl_task_timeout";
const HOST_WAIT_SECS: &str = "30";
/// The wait in seconds once a host has not answered.
const NEXT_HOST_WAIT_SECS: &str = "3";

impl<'a> Statements<'a> {
    /// Creates statements with this word.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(in crate::ops) fn new(server: &'a Server, word: &str) -> Result<Self, ServerError> {
        let limits = if lifts_drop_limit(server)? {
            DROP_LIMITS.map(|name| (name, "0".to_owned())).to_vec()
        } else {
            Vec::new()
        };
        let knows_host_wait = server::has_settings(server, &[HOST_WAIT])?;
        Ok(Self { server, word: word.to_owned(), limits, knows_host_wait, misses_host: AtomicBool::new(false) })
    }

    /// Statements to the same server with another word.
    pub(super) fn with_word(&self, word: &str) -> Self {
        Self {
            server: self.server,
            word: word.to_owned(),
            limits: self.limits.clone(),
            knows_host_wait: self.knows_host_wait,
            misses_host: AtomicBool::new(self.misses_host.load(Ordering::Relaxed)),
        }
    }

    /// Runs one of chsnap's own statements.
    ///
    /// # Errors
    /// If the server refuses, or does not answer in time: then it may still be running the statement.
    pub(in crate::ops) fn run(&self, statement: &str) -> Result<(), ServerError> {
        self.run_with(statement, &[])
    }

    /// As [`Statements::run`], with settings.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(in crate::ops) fn run_with(&self, statement: &str, settings: &[(&str, String)]) -> Result<(), ServerError> {
        let sql = self.tagged(statement);
        server::change(self.server, ServerChange { sql: &sql, settings, label: None })
    }

    /// Runs a statement that comes from a snapshot. Errors and logs call it `label`, and its `secrets` are removed from
    /// the server's message.
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
        let result = server::change(self.server, ServerChange { sql: &sql, settings, label: Some(label) });
        result.map_err(|error| without_text(error, secrets))
    }

    /// As [`Statements::run_definition`], on all hosts of a cluster. A host that does not answer is an error as well.
    ///
    /// # Errors
    /// As [`Statements::run_definition`].
    pub(super) fn run_on_cluster(
        &self,
        label: &str,
        statement: &str,
        settings: &[(&str, String)],
        secrets: &[String],
    ) -> Result<(), ServerError> {
        let secs = if self.misses_host.load(Ordering::Relaxed) { NEXT_HOST_WAIT_SECS } else { HOST_WAIT_SECS };
        let wait = self.knows_host_wait.then(|| (HOST_WAIT, secs.to_owned()));
        let settings: Vec<(&str, String)> = settings.iter().cloned().chain(wait).collect();
        let result = self.run_definition(label, statement, &settings, secrets);
        if result.as_ref().is_err_and(|error| error.code() == Some(code::TIMEOUT_EXCEEDED)) {
            self.misses_host.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Runs a statement that drops or replaces data, of any size if the server allows lifting its limit.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(super) fn run_unlimited(&self, statement: &str) -> Result<(), ServerError> {
        self.run_with(statement, &self.limits)
    }

    /// Drops a table, without delay even in databases that delay drops.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(in crate::ops) fn drop_table(&self, table: &TableName, at_once: bool) -> Result<(), ServerError> {
        let sync = if at_once { " SYNC" } else { "" };
        self.run_unlimited(&format!("DROP TABLE IF EXISTS {}{sync}", sql::quote_table(table)))
    }

    /// As [`Statements::drop_table`], but also for a dictionary, for which servers have another keyword.
    ///
    /// # Errors
    /// As [`Statements::run`].
    pub(super) fn drop_object(&self, name: &TableName, kind: DefinitionKind, at_once: bool) -> Result<(), ServerError> {
        match kind {
            DefinitionKind::Dictionary => self.run(&format!("DROP DICTIONARY IF EXISTS {}", sql::quote_table(name))),
            _ => self.drop_table(name, at_once),
        }
    }

    pub(super) fn rename(&self, from: &TableName, to: &TableName) -> Result<(), OpError> {
        Ok(self.run(&format!("RENAME TABLE {} TO {}", sql::quote_table(from), sql::quote_table(to)))?)
    }

    fn tagged(&self, statement: &str) -> String {
        format!("/* {} */ {statement}", self.word)
    }
}

/// Why a server refused a statement. Adds the remedy if the reason is the configured limit on dropping data: on an old
/// server no statement lifts that limit, and none shows it.
pub(super) fn drop_refusal(error: &ServerError) -> String {
    let text = crate::monitor::chain(error);
    if error.code() == Some(code::TABLE_SIZE_EXCEEDS_MAX_DROP_SIZE_LIMIT) {
        format!(
            "{text} It is over the server's max_table_size_to_drop: raise that, or make the file flags/force_drop_table in \
             the server's data path, which allows one drop"
        )
    } else {
        text
    }
}

/// `SYNTAX_ERROR`: the server repeats the statement from the error on.
const SYNTAX_ERROR: i32 = 62;

/// An exception without the text of its statement.
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
