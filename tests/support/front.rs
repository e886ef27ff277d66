//! A server in front of another one, behind HTTP: it forwards statements unchanged, except those that a rule answers
//! itself, changes, or sends elsewhere. So it can have features that no engine here has.
//!
//! ```ignore
//! let front = Front::start(&engine.url(), |sql| match sql {
//!     sql if sql.contains("FROM system.macros") => Reply::Rows(vec![json!({"name": "shard", "substitution": "s1"})]),
//!     _ => Reply::Same,
//! });
//! ```

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What happens to a statement.
pub enum Reply {
    /// It is forwarded.
    Same,
    /// Another statement is forwarded instead.
    Instead(String),
    /// It is forwarded to the server at this address.
    Elsewhere(String),
    /// These rows are the answer.
    Rows(Vec<Value>),
    /// It is forwarded, and these rows are appended to those of the answer.
    More(Vec<Value>),
    /// It is forwarded, and this function changes each row of the answer.
    Edited(fn(&mut Value)),
}

type Rule = dyn Fn(&str) -> Reply + Send + Sync;

/// The server. The thread that answers ends with the process.
#[derive(Clone)]
pub struct Front {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// Starts a server in front of the one at `behind`.
    pub fn start(behind: &str, rule: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let front = Self { url, seen: Arc::default() };
        let (seen, behind, rule) = (Arc::clone(&front.seen), behind.to_owned(), Arc::new(rule));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, behind, rule) = (Arc::clone(&seen), behind.clone(), Arc::clone(&rule));
                std::thread::spawn(move || serve(stream, &seen, &behind, rule.as_ref()));
            }
        });
        front
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// All statements so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no thread panics with it").clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<String>>, behind: &str, rule: &Rule) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let (mut length, mut is_chunked, mut line, mut target) = (0, false, String::new(), String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if target.is_empty() {
                line.split_whitespace().nth(1).unwrap_or("/").clone_into(&mut target);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            is_chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
            if line == "\r\n" {
                break;
            }
        }
        // Rows that are inserted are not text.
        let body = if is_chunked { chunks(&mut reader) } else { exactly(&mut reader, length) };
        let sql = String::from_utf8_lossy(&body).into_owned();
        seen.lock().expect("no thread panics with it").push(sql.clone());
        let send = |url: &str, body: &[u8]| hand_on(&format!("{url}{target}"), body);
        let (status, code, body) = match rule(&sql) {
            Reply::Same => send(behind, &body),
            Reply::Instead(other) => send(behind, other.as_bytes()),
            Reply::Elsewhere(url) => send(&url, &body),
            Reply::Rows(rows) => (200, None, lines(&rows)),
            Reply::More(rows) => {
                let (status, code, body) = send(behind, &body);
                let body = if status == 200 { [body, lines(&rows)].concat() } else { body };
                (status, code, body)
            }
            Reply::Edited(change) => {
                let (status, code, body) = send(behind, &body);
                let body = if status == 200 { edited(&body, change) } else { body };
                (status, code, body)
            }
        };
        let code = code.map(|code| format!("X-ClickHouse-Exception-Code: {code}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status} Answer\r\n{code}Content-Length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

fn exactly(reader: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).expect("a whole body");
    bytes
}

/// A body in chunks.
fn chunks(reader: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).expect("a size");
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let mut chunk = exactly(reader, size + 2);
        if size == 0 {
            return body;
        }
        chunk.truncate(size);
        body.append(&mut chunk);
    }
}

fn lines(rows: &[Value]) -> Vec<u8> {
    rows.iter().map(|row| format!("{row}\n")).collect::<Vec<_>>().concat().into_bytes()
}

fn edited(body: &[u8], change: fn(&mut Value)) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let mut rows: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    rows.iter_mut().for_each(change);
    lines(&rows)
}

fn hand_on(url: &str, body: &[u8]) -> (u16, Option<String>, Vec<u8>) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(300)))
        .max_idle_connections(0)
        .proxy(None)
        .build()
        .into();
    let mut response = match agent.post(url).send(body) {
        Ok(response) => response,
        Err(error) => return (500, None, error.to_string().into_bytes()),
    };
    let code = response.headers().get("X-ClickHouse-Exception-Code").and_then(|code| code.to_str().ok());
    let code = code.map(str::to_owned);
    let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec().expect("a whole answer");
    (response.status().as_u16(), code, body)
}
