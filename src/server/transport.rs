//! Statements to a server and rows back, each under a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::connect::{self, ConnectOptions};
use super::error::{ServerError, code};
use super::features::{self, Features};

/// One ClickHouse server, reached over HTTP. May be shared between threads.
pub struct Server {
    client: clickhouse::Client,
    runtime: Runtime,
    options: ConnectOptions,
    features: Features,
}

/// A statement with what goes beside it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The statement, without its `FORMAT`.
    pub sql: &'a str,
    /// Settings of this statement alone.
    pub settings: &'a [(&'a str, String)],
    /// The id under which the server lists the statement.
    pub query_id: Option<&'a str>,
    /// How long to wait for the whole answer.
    pub deadline: Duration,
    /// Whether the wait ends when the program is asked to stop; what cleans up after it must not.
    pub interruptible: bool,
    /// What errors and logs call the statement, of one whose text may hold secrets; without it, its beginning.
    pub label: Option<&'a str>,
}

impl Request<'_> {
    fn name(&self) -> String {
        self.label.map_or_else(|| beginning(self.sql), str::to_owned)
    }
}

/// How often a waiting statement looks whether the program was asked to stop.
const POLL: Duration = Duration::from_millis(50);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.options.url).finish_non_exhaustive()
    }
}

impl Server {
    /// Connects, and asks the server what it has.
    ///
    /// # Errors
    /// If the options cannot be used, or no ClickHouse answers them.
    pub fn connect(options: ConnectOptions) -> Result<Self, ServerError> {
        let client = connect::client(&options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("chsnap-http")
            .enable_all()
            .build()
            .map_err(|error| ServerError::Setup { reason: error.to_string() })?;
        let mut server = Self { client, runtime, options, features: Features::default() };
        server.features = Features::new(server.rows(features::COLUMNS)?);
        Ok(server)
    }

    /// What this server has.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The address that the server was reached at.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.options.url
    }

    /// The deadline of one `FREEZE`.
    #[must_use]
    pub fn freeze_deadline(&self) -> Duration {
        self.options.freeze_deadline
    }

    /// Becomes true when the program should stop.
    #[must_use]
    pub fn interrupted(&self) -> &Arc<AtomicBool> {
        &self.options.interrupted
    }

    /// Runs a query and reads its rows.
    ///
    /// # Errors
    /// If the server does not answer in time, refuses, or answers something else than such rows.
    pub fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, ServerError> {
        self.rows_with(sql, &[])
    }

    /// [`Server::rows`] with settings.
    ///
    /// # Errors
    /// As [`Server::rows`].
    pub fn rows_with<T: DeserializeOwned>(
        &self,
        sql: &str,
        settings: &[(&str, String)],
    ) -> Result<Vec<T>, ServerError> {
        let deadline = self.options.query_deadline;
        self.rows_of(&Request { sql, settings, query_id: None, deadline, interruptible: true, label: None })
    }

    /// [`Server::rows`], each handed out as it comes and none kept: of parts there can be hundreds of thousands.
    ///
    /// # Errors
    /// As there; what was handed out before an error is a part of an answer and nothing more.
    pub(super) fn each_row_of<T: DeserializeOwned>(
        &self,
        sql: &str,
        mut take: impl FnMut(T),
    ) -> Result<(), ServerError> {
        let deadline = self.options.query_deadline;
        let request = Request { sql, settings: &[], query_id: None, deadline, interruptible: true, label: None };
        // The answer is read to its end whatever is in it: an error of the server's own, there, tells more.
        let (mut parsed, mut line) = (Ok(()), Vec::new());
        let mut parse = |line: &[u8]| parse_row(sql, line).map(&mut take);
        self.receive(&request, |piece| {
            let mut pieces = piece.split(|byte| *byte == b'\n');
            line.extend_from_slice(pieces.next().unwrap_or_default());
            for next in pieces {
                if parsed.is_ok() && !line.is_empty() {
                    parsed = parse(&line);
                }
                line.clear();
                line.extend_from_slice(next);
            }
        })?;
        parsed?;
        if line.is_empty() { Ok(()) } else { parse(&line) }
    }

    pub(super) fn rows_of<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<Vec<T>, ServerError> {
        // Into one buffer, and rows made of it when its end is there: an endless answer is no list of endless rows.
        let mut answer = Vec::new();
        self.receive(request, |piece| answer.extend_from_slice(piece))?;
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| parse_row(request.sql, line)).collect()
    }

    /// Hands out an answer as it comes.
    fn receive(&self, request: &Request<'_>, mut take: impl FnMut(&[u8])) -> Result<(), ServerError> {
        // The format stands in the statement for plain bridges, and beside it because the crate puts it there.
        let sql = format!("{} FORMAT JSONEachRow", request.sql);
        let client = self.client_for(request);
        self.wait(request, async {
            let mut cursor = client.query_raw(&sql).fetch_bytes("JSONEachRow")?;
            while let Some(piece) = cursor.next().await? {
                take(&piece);
            }
            Ok(())
        })
    }

    /// Runs a statement that takes no format, and reads its answer as tab-separated text.
    ///
    /// # Errors
    /// As [`Server::rows`].
    pub(super) fn text(&self, sql: &str) -> Result<String, ServerError> {
        let deadline = self.options.query_deadline;
        let request = Request { sql, settings: &[], query_id: None, deadline, interruptible: true, label: None };
        let client = self.client_for(&request);
        let answer =
            self.wait(&request, async move { client.query_raw(sql).fetch_bytes("TabSeparated")?.collect().await })?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Runs a statement that answers no rows.
    ///
    /// # Errors
    /// If the server does not answer in time, or refuses.
    pub fn execute(&self, request: &Request<'_>) -> Result<(), ServerError> {
        let client = self.client_for(request);
        let sql = request.sql.to_owned();
        self.wait(request, async move { client.query_raw(&sql).execute().await })
    }

    fn client_for(&self, request: &Request<'_>) -> clickhouse::Client {
        let mut client = self.client.clone();
        for (name, value) in request.settings {
            client.set_setting(*name, value);
        }
        if let Some(query_id) = request.query_id {
            client.set_setting("query_id", query_id);
        }
        client
    }

    fn wait<T>(
        &self,
        request: &Request<'_>,
        answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, ServerError> {
        let begun = Instant::now();
        let result = self.runtime.block_on(async {
            tokio::pin!(answer);
            loop {
                if let Ok(result) = tokio::time::timeout(POLL, &mut answer).await {
                    return result.map_err(|error| self.translate(request, error));
                }
                if request.interruptible && self.options.interrupted.load(Ordering::Relaxed) {
                    return Err(ServerError::Interrupted);
                }
                if begun.elapsed() >= request.deadline {
                    return Err(ServerError::Deadline { query: request.name(), deadline: request.deadline });
                }
            }
        });
        tracing::debug!(
            query = request.name(),
            query_id = request.query_id,
            seconds = begun.elapsed().as_secs_f64(),
            failed = result.is_err(),
            "clickhouse"
        );
        result
    }

    fn translate(&self, request: &Request<'_>, error: clickhouse::error::Error) -> ServerError {
        let url = self.options.url.clone();
        let clickhouse::error::Error::BadResponse(answer) = error else {
            return ServerError::Unreachable { url, source: Box::new(error) };
        };
        let message = first_line(&answer);
        match exception_code(&answer) {
            Some(number) if code::AUTHENTICATION.contains(&number) => ServerError::Authentication {
                url,
                user: self.options.user.clone().unwrap_or_else(|| "default".to_owned()),
                message,
            },
            Some(number) => ServerError::Exception { code: number, query: request.name(), message },
            None => ServerError::NotClickHouse { url, answer: message },
        }
    }
}

/// Reads `Code: N` off the front of an exception's text, which every version writes.
fn exception_code(answer: &str) -> Option<i32> {
    let (_, rest) = answer.split_once("Code: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn first_line(answer: &str) -> String {
    let line = answer.lines().find(|line| !line.trim().is_empty()).unwrap_or("an empty answer");
    line.chars().take(500).collect()
}

fn parse_row<T: DeserializeOwned>(sql: &str, line: &[u8]) -> Result<T, ServerError> {
    // Bytes that are not UTF-8 become U+FFFD; a table with such a name is reported, never frozen.
    let line = String::from_utf8_lossy(line);
    serde_json::from_str(&line).map_err(|source| ServerError::Answer {
        query: beginning(sql),
        row: line.chars().take(200).collect(),
        source,
    })
}

fn beginning(sql: &str) -> String {
    let mut words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(160) {
        words.truncate(end);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{beginning, exception_code};

    #[test]
    fn the_code_is_read_from_the_text_of_old_and_new_servers() {
        assert_eq!(exception_code("Code: 60, e.displayText() = DB::Exception: Table default.x"), Some(60));
        assert_eq!(exception_code("Code: 497. DB::Exception: u: Not enough privileges."), Some(497));
        assert_eq!(exception_code("<html>404</html>"), None);
    }

    #[test]
    fn a_long_statement_is_shown_by_its_beginning() {
        assert_eq!(beginning("SELECT\n  1"), "SELECT 1");
        assert_eq!(beginning(&"é".repeat(400)).chars().count(), 161);
    }
}
