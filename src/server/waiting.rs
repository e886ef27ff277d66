//! The reasons for which a statement that does not end may be waiting.

use serde::Deserialize;

use crate::model::{FreezeName, TableName};

use super::error::ServerError;
use super::freeze::CLEANING;
use super::list::List;
use super::transport::{QueryOptions, Server};
use super::{rows, sql};

#[derive(Deserialize)]
struct QueryRow {
    user: String,
    elapsed: f64,
    text: String,
}

#[derive(Deserialize)]
struct FailedMutationRow {
    mutation_id: String,
    latest_fail_reason: String,
}

#[derive(Deserialize)]
struct DdlQueueRow {
    entry: String,
    host: String,
    status: String,
}

#[derive(Deserialize)]
struct TraceRow {
    thread: String,
    frames: String,
    #[serde(deserialize_with = "rows::number")]
    depth: u64,
}

/// More than this many of one kind are counted, not listed.
const TOLD: usize = 5;

/// Lists what a freeze of this table may be waiting for: other statements that refer to the table, their users and
/// ages; mutations that are not done; DDL that is queued for the cluster; and the stack of the freeze itself, if the
/// server shows that.
///
/// Information that the server refuses to give is left out.
#[must_use]
pub fn waits_on(server: &Server, table: &TableName, name: &FreezeName, query_id: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let queries: Vec<QueryRow> = ask(server, &sql::queries_on(table, name), &[]).unwrap_or_default();
    push_lines(&mut lines, &queries, describe);
    let mut mutations: Vec<FailedMutationRow> =
        ask(server, &sql::unfinished_mutations(server.features(), table), &[]).unwrap_or_default();
    // A mutation has a row for each of its commands.
    mutations.dedup_by(|next, earlier| next.mutation_id == earlier.mutation_id);
    push_lines(&mut lines, &mutations, |mutation| {
        let reason = match one_line(&mutation.latest_fail_reason) {
            reason if reason.is_empty() => String::new(),
            reason => format!(": {reason}"),
        };
        format!("mutation {} is not done{reason}", mutation.mutation_id)
    });
    if server.features().has_table("distributed_ddl_queue") {
        let queued: Vec<DdlQueueRow> = ask(server, &sql::queued_ddl(table), &[]).unwrap_or_default();
        push_lines(&mut lines, &queued, |ddl| format!("{} is {} on {}", ddl.entry, ddl.status, ddl.host));
    }
    if server.features().has_table("stack_trace") {
        let settings = [("allow_introspection_functions", "1".to_owned())];
        let traces: Vec<TraceRow> = ask(server, &sql::stack_traces(query_id), &settings).unwrap_or_default();
        push_lines(&mut lines, &traces, |TraceRow { thread, frames, depth }| match one_line(frames) {
            frames if frames.is_empty() => format!("its thread {thread} is in {depth} frames without symbols"),
            frames => format!("its thread {thread} is in {frames}"),
        });
    }
    lines
}

/// Lists the statements that run on the server, the longest-running first.
#[must_use]
pub fn runs(server: &Server) -> Vec<String> {
    let mut lines = Vec::new();
    let queries: Vec<QueryRow> = ask(server, &sql::long_queries(), &[]).unwrap_or_default();
    push_lines(&mut lines, &queries, describe);
    lines
}

fn describe(query: &QueryRow) -> String {
    format!("user {} has run for {:.0} s: {}", query.user, query.elapsed, one_line(&query.text))
}

fn ask<T: serde::de::DeserializeOwned>(
    server: &Server,
    list: &List,
    settings: &[(&str, String)],
) -> Result<Vec<T>, ServerError> {
    let asking = QueryOptions { settings, deadline: CLEANING, interruptible: true };
    server
        .listed(list, asking)
        .inspect_err(|error| tracing::debug!(%error, "the reason why the freeze waits cannot be queried"))
}

fn push_lines<T>(lines: &mut Vec<String>, rows: &[T], line: impl Fn(&T) -> String) {
    lines.extend(rows.iter().take(TOLD).map(line));
    if rows.len() > TOLD {
        lines.push(format!("and {} more of these", rows.len() - TOLD));
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
