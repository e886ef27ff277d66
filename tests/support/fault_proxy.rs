//! A proxy in front of an HTTP server that fails as networks, services and stores do.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A request, as a decision about it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    pub method: String,
    /// The path, with the query.
    pub target: String,
    pub body_bytes: usize,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The server does not get it, and this is answered: a status and a body.
    Answered(u16, String),
    /// The connection ends after this number of bytes of the request.
    CutRequest(usize),
    /// The connection ends after this number of bytes of the answer's body.
    CutAnswer(usize),
    /// The server gets it, and no answer comes back.
    NoAnswer,
    /// The answer has this number of bytes of its body, and claims that these are all.
    Shortened(usize),
    /// The answer has this body.
    Swapped(Vec<u8>),
    /// The server gets this number of bytes of the body, as if there were no more.
    Truncated(usize),
    /// The server does not get it, and its answer is that all is well.
    Dropped,
}

type Decide = dyn Fn(&Asked) -> Fault + Send + Sync;

/// A proxy on the loopback, whose threads end with the connections.
pub struct FaultProxy {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The error of a service of S3's kind.
pub fn s3_error(status: u16, code: &str) -> Fault {
    Fault::Answered(status, format!("<Error><Code>{code}</Code><Message>by the proxy</Message></Error>"))
}

impl FaultProxy {
    /// Starts a proxy in front of a port of the loopback.
    pub fn start(server: u16, decide: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, decide): (_, Arc<Decide>) = (Arc::clone(&asked), Arc::new(decide));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (asked, decide) = (Arc::clone(&shared), Arc::clone(&decide));
                std::thread::spawn(move || {
                    drop(carry(&client, server, &asked, decide.as_ref()));
                    drop(client.shutdown(Shutdown::Both));
                });
            }
        });
        Self { port, asked }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The head of a message without `Connection` and `Content-Length`, and the length that it says.
fn head(from: &mut impl std::io::BufRead) -> std::io::Result<Option<(Vec<String>, usize)>> {
    let (mut lines, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            return Ok(Some((lines, length)));
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        } else if !lower.starts_with("connection:") {
            lines.push(line.trim_end().to_owned());
        }
    }
}

fn message(lines: &[String], length: usize, connection: &str) -> Vec<u8> {
    format!("{}\r\ncontent-length: {length}\r\nconnection: {connection}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// Carries the requests of one connection.
fn carry(client: &TcpStream, server: u16, asked: &Mutex<Vec<Asked>>, decide: &Decide) -> std::io::Result<()> {
    let mut requests = BufReader::new(client.try_clone()?);
    let mut back = client.try_clone()?;
    while let Some((lines, length)) = head(&mut requests)? {
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let this = {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let this = Asked { number: asked.len(), method, target, body_bytes: length };
            asked.push(this.clone());
            this
        };
        let fault = decide(&this);
        let read = if let Fault::CutRequest(bytes) = fault { bytes.min(length) } else { length };
        let mut body = vec![0; read];
        requests.read_exact(&mut body)?;
        match &fault {
            Fault::CutRequest(_) => return Ok(()),
            Fault::Answered(status, text) => {
                let lines = [format!("HTTP/1.1 {status} Fault"), "content-type: application/xml".to_owned()];
                back.write_all(&message(&lines, text.len(), "keep-alive"))?;
                if this.method != "HEAD" {
                    back.write_all(text.as_bytes())?;
                }
                continue;
            }
            Fault::Dropped => {
                let lines = ["HTTP/1.1 200 OK".to_owned(), "etag: \"0123\"".to_owned()];
                back.write_all(&message(&lines, 0, "keep-alive"))?;
                continue;
            }
            Fault::Truncated(bytes) => body.truncate(*bytes),
            _ => {}
        }
        let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
        upstream.write_all(&message(&lines, body.len(), "close"))?;
        upstream.write_all(&body)?;
        let mut answers = BufReader::new(upstream);
        let Some((lines, length)) = head(&mut answers)? else { return Ok(()) };
        let mut answer = Vec::new();
        answers.read_to_end(&mut answer)?;
        match fault {
            Fault::NoAnswer => return Ok(()),
            Fault::CutAnswer(bytes) => {
                back.write_all(&message(&lines, length, "keep-alive"))?;
                back.write_all(answer.get(..bytes).unwrap_or(&answer))?;
                return back.flush();
            }
            Fault::Shortened(bytes) => answer.truncate(bytes),
            Fault::Swapped(bytes) => answer = bytes,
            _ => {}
        }
        // The answer to HEAD says the length of a body that it does not have.
        let says = if this.method == "HEAD" { length } else { answer.len() };
        back.write_all(&message(&lines, says, "keep-alive"))?;
        back.write_all(&answer)?;
    }
    Ok(())
}
