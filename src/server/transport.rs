//! Sends statements to a server and reads rows back, each under a deadline.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::model::TableName;

use super::connect::{self, ConnectOptions};
use super::error::{ServerError, code};
use super::features::{self, Features};
use super::list::List;
use super::neutral::{self, Neutral};
use super::policies::{self, RowPolicyRow};
use super::rows::CountRow;

/// One ClickHouse server, reached over HTTP. May be shared between threads.
pub struct Server {
    client: clickhouse::Client,
    runtime: Runtime,
    options: ConnectOptions,
    features: Features,
    neutral: Neutral,
    policies: Vec<RowPolicyRow>,
    /// The number of callers that clean up.
    cleaning: AtomicUsize,
}

/// A statement with its settings and options.
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
    /// Whether an interruption ends the wait; statements that clean up must not be interrupted.
    pub interruptible: bool,
    /// The name for errors and logs, if the statement's text may contain secrets; without it, they show its beginning.
    pub label: Option<&'a str>,
}

/// How a list is requested.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryOptions<'a> {
    /// Settings of these statements alone.
    pub(super) settings: &'a [(&'a str, String)],
    /// How long to wait for one answer.
    pub(super) deadline: Duration,
    /// See [`Request::interruptible`].
    pub(super) interruptible: bool,
}

/// The kind of a statement: decides which settings that would cut its answer short are neutralized.
#[derive(Clone, Copy, Debug)]
enum Reads<'a> {
    /// The settings themselves.
    Settings,
    /// This system table.
    List(&'a str),
    /// The user's own tables, or none.
    Rows,
}

/// How often a list is requested while it is shorter than its count, how often in a row it may be short in the same
/// way, and the pause in between. While parts come and go, one reading may find fewer than the counts before and after
/// it.
const LISTINGS: u32 = 18;
const SAME_LISTINGS: u32 = 9;
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of an INSERT that are sent at once.
const INSERT_BYTES: usize = 1 << 18;

impl Request<'_> {
    fn name(&self) -> String {
        self.label.map_or_else(|| beginning(self.sql), str::to_owned)
    }
}

/// One reading of a list.
pub(super) struct Listed<T> {
    pub(super) answer: T,
    /// The number of rows from which the answer is made.
    pub(super) rows: u64,
    /// The number that the answer should have been made from, if the same statement told it.
    pub(super) count: Option<u64>,
}

/// How often a waiting statement checks whether the program was told to stop.
const POLL: Duration = Duration::from_millis(50);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.options.url).finish_non_exhaustive()
    }
}

impl Server {
    /// Connects, and queries the server's features.
    ///
    /// # Errors
    /// If the options cannot be used, or no ClickHouse server answers.
    pub fn connect(options: ConnectOptions) -> Result<Self, ServerError> {
        let client = connect::client(&options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("chsnap-http")
            .enable_all()
            .build()
            .map_err(|error| ServerError::Setup { reason: error.to_string() })?;
        let mut server = Self {
            client,
            runtime,
            options,
            features: Features::default(),
            neutral: Neutral::default(),
            policies: Vec::new(),
            cleaning: AtomicUsize::new(0),
        };
        server.neutral = Neutral::find(|settings| {
            let rows = server.answers(&server.request(&neutral::probe_sql(), settings), Reads::Settings)?;
            Ok(rows.into_iter().next())
        })?;
        server.features = Features::new(server.list(&features::columns())?);
        if let Some(list) = policies::list(&server.features) {
            // Many users may not see policies, and most servers have none.
            let policies = server.listed(&list, server.asking(&[]));
            let policies = policies.inspect_err(|error| tracing::debug!(%error, "row policies are not known"));
            server.policies = policies.unwrap_or_default();
        }
        Ok(server)
    }

    /// The features of this server.
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

    /// Does work that cleans up after an interruption: until it is done, no wait for the server is interrupted.
    pub fn clean_up<T>(&self, work: impl FnOnce() -> T) -> T {
        self.cleaning.fetch_add(1, Ordering::Relaxed);
        let result = work();
        self.cleaning.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Whether a wait that may be interrupted should end now.
    fn is_interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed) && self.cleaning.load(Ordering::Relaxed) == 0
    }

    /// Runs a query that is not a list, and reads its rows.
    ///
    /// # Errors
    /// If the server does not answer in time, refuses, or answers something else than such rows, and if the answer may
    /// be cut by settings that this user may not change.
    pub(super) fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, ServerError> {
        self.answers(&self.request(sql, &[]), Reads::Rows)
    }

    /// Runs a query over tables of the user's own, and reads its rows.
    ///
    /// # Errors
    /// As [`Server::rows`], and if the answer may be cut by settings that this user may not change.
    pub(super) fn rows_of<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<Vec<T>, ServerError> {
        self.answers(request, Reads::Rows)
    }

    /// Reads a complete list: settings that would cut it are neutralized, and its rows are counted.
    ///
    /// # Errors
    /// As [`Server::rows`], and if it is not complete.
    pub fn list<T: DeserializeOwned>(&self, list: &List) -> Result<Vec<T>, ServerError> {
        self.list_by(list, self.asking(&[]))
    }

    /// Works as [`Server::list`], with other options.
    ///
    /// # Errors
    /// As [`Server::list`].
    pub(super) fn list_by<T: DeserializeOwned>(
        &self,
        list: &List,
        asking: QueryOptions<'_>,
    ) -> Result<Vec<T>, ServerError> {
        self.counted(list, asking, || {
            let (rows, count): (Vec<T>, _) = self.listed_and_counted(list, asking)?;
            Ok(Listed { rows: rows.len() as u64, answer: rows, count })
        })
    }

    /// Reads a list that only explains something, so it is not counted.
    ///
    /// # Errors
    /// As [`Server::list`].
    pub(super) fn listed<T: DeserializeOwned>(
        &self,
        list: &List,
        asking: QueryOptions<'_>,
    ) -> Result<Vec<T>, ServerError> {
        self.answers(&asked(&list.rows(), asking), Reads::List(list.table()))
    }

    /// Reads a list and, in the same statement, the number of rows from which it is made. That number is `None` if the
    /// list is empty, because it comes with each row.
    ///
    /// # Errors
    /// As [`Server::list`].
    pub(super) fn listed_and_counted<T: DeserializeOwned>(
        &self,
        list: &List,
        asking: QueryOptions<'_>,
    ) -> Result<(Vec<T>, Option<u64>), ServerError> {
        let sql = list.counted_rows();
        let answer = self.answer(&asked(&sql, asking), Reads::List(list.table()))?;
        let mut lines = lines(&answer).peekable();
        // A bridge may answer without the column that it does not know.
        let count = lines.peek().and_then(|line| parse_row::<CountRow>(&sql, line).ok());
        let rows = lines.map(|line| parse_row(&sql, line)).collect::<Result<_, _>>()?;
        Ok((rows, count.map(|row| row.count)))
    }

    /// The number of rows from which a list is made.
    ///
    /// # Errors
    /// As [`Server::list`].
    pub(super) fn count(&self, list: &List, asking: QueryOptions<'_>) -> Result<u64, ServerError> {
        let rows: Vec<CountRow> = self.answers(&asked(&list.count(), asking), Reads::List(list.table()))?;
        let none = || ServerError::Short { list: list.table().to_owned(), rows: 0, count: 1 };
        rows.first().map(|row| row.count).ok_or_else(none)
    }

    /// Reads a list with `read`, which also returns the number of rows from which it is made, and compares that with
    /// the list's count, which is queried unless `read` returns it as well.
    ///
    /// # Errors
    /// As [`Server::list`].
    pub(super) fn counted<T>(
        &self,
        list: &List,
        asking: QueryOptions<'_>,
        read: impl FnMut() -> Result<Listed<T>, ServerError>,
    ) -> Result<T, ServerError> {
        whole(list.table(), read, || self.count(list, asking))
    }

    /// The usual options for lists.
    pub(super) fn asking<'a>(&self, settings: &'a [(&'a str, String)]) -> QueryOptions<'a> {
        QueryOptions { settings, deadline: self.options.query_deadline, interruptible: true }
    }

    fn request<'a>(&self, sql: &'a str, settings: &'a [(&'a str, String)]) -> Request<'a> {
        asked(sql, self.asking(settings))
    }

    /// Reads a list and passes on each row as it arrives, without storing any: there can be hundreds of thousands of
    /// parts. Returns the number of rows, which is not compared with a count.
    ///
    /// # Errors
    /// As [`Server::list`]; rows that were passed on before an error are only a part of the answer.
    pub(super) fn each_listed<T: DeserializeOwned>(
        &self,
        list: &List,
        mut take: impl FnMut(T),
    ) -> Result<u64, ServerError> {
        let sql = list.rows();
        // The answer is read to its end whatever it contains, because an error message of the server at its end
        // explains more.
        let (mut parsed, mut line, mut count) = (Ok(()), Vec::new(), 0);
        let mut parse = |line: &[u8]| parse_row(&sql, line).map(&mut take);
        self.receive(&self.request(&sql, &[]), Reads::List(list.table()), |piece| {
            let mut pieces = piece.split(|byte| *byte == b'\n');
            line.extend_from_slice(pieces.next().unwrap_or_default());
            for next in pieces {
                if parsed.is_ok() && !line.is_empty() {
                    parsed = parse(&line);
                    count += 1;
                }
                line.clear();
                line.extend_from_slice(next);
            }
        })?;
        parsed?;
        if !line.is_empty() {
            parse(&line)?;
            count += 1;
        }
        Ok(count)
    }

    fn answers<T: DeserializeOwned>(&self, request: &Request<'_>, reads: Reads<'_>) -> Result<Vec<T>, ServerError> {
        lines(&self.answer(request, reads)?).map(|line| parse_row(request.sql, line)).collect()
    }

    /// A whole answer, to be parsed after its end: an endless one must not become a list of endless rows.
    fn answer(&self, request: &Request<'_>, reads: Reads<'_>) -> Result<Vec<u8>, ServerError> {
        let mut answer = Vec::new();
        self.receive(request, reads, |piece| answer.extend_from_slice(piece))?;
        Ok(answer)
    }

    /// Passes on an answer as it arrives.
    fn receive(&self, request: &Request<'_>, reads: Reads<'_>, mut take: impl FnMut(&[u8])) -> Result<(), ServerError> {
        // The format is part of the statement for plain bridges, and is also sent separately because the crate does so.
        let sql = format!("{} FORMAT JSONEachRow", request.sql);
        let client = self.client_for(request, &self.neutral_for(reads)?);
        self.wait(request, async {
            let mut cursor = client.query_raw(&sql).fetch_bytes("JSONEachRow")?;
            while let Some(piece) = cursor.next().await? {
                take(&piece);
            }
            Ok(())
        })
    }

    /// Passes on the answer to a query over a table of the user's own, in this format, as it arrives, until `take`
    /// breaks: then the connection is closed, and a server ends the query at its next write.
    ///
    /// # Errors
    /// As [`Server::rows_of`]. An old server reports a failure in the middle of an answer, and not by its status: the
    /// data passed to `take` may end with the server's error message.
    pub(super) fn stream(
        &self,
        request: &Request<'_>,
        format: &str,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ServerError> {
        let sql = format!("{} FORMAT {format}", request.sql);
        let client = self.client_for(request, &self.neutral_for(Reads::Rows)?);
        self.wait(request, async {
            let mut cursor = client.query_raw(&sql).fetch_bytes(format)?;
            while let Some(piece) = cursor.next().await? {
                if take(&piece).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Sends an INSERT, whose text ends with its format, and the rows that `next` reads into a buffer, piece by piece,
    /// until `next` reads none.
    ///
    /// # Errors
    /// If the server refuses, or does not answer in time, or `next` fails; the server then keeps nothing, or only what
    /// it had received until then.
    pub(super) fn insert<E>(
        &self,
        request: &Request<'_>,
        mut next: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<(), E>, ServerError> {
        let mut insert = self.client_for(request, &[]).insert_formatted_with(request.sql).buffered();
        self.wait(request, async move {
            let mut buffer = vec![0; INSERT_BYTES];
            loop {
                match next(&mut buffer) {
                    // Without its end, the server treats the statement as aborted.
                    Err(error) => return Ok(Err(error)),
                    Ok(0) => break,
                    Ok(count) => {
                        insert.write_buffered(buffer.get(..count).unwrap_or_default());
                        insert.flush().await?;
                    }
                }
            }
            insert.end().await?;
            Ok(Ok(()))
        })
    }

    /// Row policies that hide rows of one table of the user's own from this user, by name; empty if the server does not
    /// list them.
    pub(super) fn hidden_by(&self, table: &TableName) -> Vec<String> {
        let list = policies::list_of(&self.features, table);
        let rows: Option<Vec<RowPolicyRow>> = list.and_then(|list| self.listed(&list, self.asking(&[])).ok());
        policies::hiding(&rows.unwrap_or_default(), &table.table)
    }

    /// The settings without which an answer may be cut.
    fn neutral_for(&self, reads: Reads<'_>) -> Result<Vec<neutral::NeutralSetting>, ServerError> {
        match reads {
            Reads::Settings => Ok(Vec::new()),
            Reads::Rows => self.neutral.for_reads(),
            Reads::List(table) => {
                let policies = policies::hiding(&self.policies, table);
                if !policies.is_empty() {
                    return Err(ServerError::Hidden { list: format!("system.{table}"), policies });
                }
                self.neutral.for_list(table)
            }
        }
    }

    /// Runs a statement that does not accept a format, and reads its answer as tab-separated text.
    ///
    /// # Errors
    /// As [`Server::rows`].
    pub(super) fn text(&self, sql: &str) -> Result<String, ServerError> {
        let deadline = self.options.query_deadline;
        let request = Request { sql, settings: &[], query_id: None, deadline, interruptible: true, label: None };
        let client = self.client_for(&request, &[]);
        let answer =
            self.wait(&request, async move { client.query_raw(sql).fetch_bytes("TabSeparated")?.collect().await })?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Runs a statement that returns no rows.
    ///
    /// # Errors
    /// If the server does not answer in time, or refuses.
    pub fn execute(&self, request: &Request<'_>) -> Result<(), ServerError> {
        let client = self.client_for(request, &[]);
        let sql = request.sql.to_owned();
        self.wait(request, async move { client.query_raw(&sql).execute().await })
    }

    fn client_for(&self, request: &Request<'_>, neutral: &[neutral::NeutralSetting]) -> clickhouse::Client {
        let mut client = self.client.clone();
        let own = request.settings.iter().map(|(name, value)| (*name, value));
        for (name, value) in neutral.iter().map(|(name, value)| (*name, value)).chain(own) {
            client.set_setting(name, value);
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
                if request.interruptible && self.is_interrupted() {
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
                has_password: self.options.password.is_some(),
                message,
            },
            Some(number) => ServerError::Exception { code: number, query: request.name(), message },
            None => ServerError::NotClickHouse { url, answer: message },
        }
    }
}

pub(super) fn asked<'a>(sql: &'a str, asking: QueryOptions<'a>) -> Request<'a> {
    let QueryOptions { settings, deadline, interruptible } = asking;
    Request { sql, settings, query_id: None, deadline, interruptible, label: None }
}

/// Retries until at least as many rows are read as were counted before or after.
fn whole<T>(
    table: &str,
    mut read: impl FnMut() -> Result<Listed<T>, ServerError>,
    count: impl Fn() -> Result<u64, ServerError>,
) -> Result<T, ServerError> {
    let (mut before, mut last, mut same, mut listings) = (u64::MAX, None, 0, 0);
    loop {
        let Listed { answer, rows, count: counted } = read()?;
        let after = counted.map_or_else(&count, Ok)?;
        let at_least = after.min(before);
        if rows >= at_least {
            return Ok(answer);
        }
        listings += 1;
        same = if last == Some((rows, after)) { same + 1 } else { 1 };
        if same == SAME_LISTINGS || listings == LISTINGS {
            return Err(ServerError::Short { list: table.to_owned(), rows, count: at_least });
        }
        tracing::debug!(table, rows, count = after, "a list is shorter than its count");
        (before, last) = (after, Some((rows, after)));
        // Longer each time, so that rows that come and go at a regular pace are read at another moment.
        std::thread::sleep(PAUSE * listings.min(4));
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

/// The rows of an answer.
fn lines(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
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
    use std::cell::Cell;

    use super::{Listed, beginning, exception_code, whole};
    use crate::server::error::ServerError;

    /// Reads lists of these lengths, and these counts; the last of each is repeated.
    fn listed(rows: &[u64], counts: &[u64]) -> Result<u64, ServerError> {
        let (asked, counted) = (Cell::new(0), Cell::new(0));
        let next = |values: &[u64], at: &Cell<usize>| {
            let value = *values.get(at.get()).or(values.last()).expect("a number");
            at.set(at.get() + 1);
            value
        };
        whole(
            "parts",
            || Ok(Listed { answer: asked.get() as u64 + 1, rows: next(rows, &asked), count: None }),
            || Ok(next(counts, &counted)),
        )
    }

    #[test]
    fn a_list_that_only_moves_is_no_short_one() {
        assert_eq!(listed(&[8], &[8]).expect("whole"), 1);
        // A part was created after the list, or merged away.
        assert_eq!(listed(&[8, 9], &[9]).expect("whole"), 2);
        assert_eq!(listed(&[8], &[7]).expect("whole"), 1);
        // New parts appear all the time: each list has as many as were counted before it.
        assert_eq!(listed(&[8, 9, 10], &[9, 11, 13]).expect("whole"), 2);
        // Parts appear and vanish.
        assert_eq!(listed(&[5, 6, 7], &[9, 9, 7]).expect("whole"), 3);
    }

    #[test]
    fn a_list_that_stays_short_is_an_error_with_both_numbers() {
        for (rows, counts) in [(&[4][..], &[8][..]), (&[0], &[1]), (&[4, 5], &[8, 9, 8, 9])] {
            let error = listed(rows, counts).expect_err("it is short");
            assert!(matches!(error, ServerError::Short { rows: 0 | 4 | 5, count: 1 | 8 | 9, .. }), "{error}");
        }
    }

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
