//! A proxy in front of an HTTP server that counts the requests and the bytes of their bodies, as the server gets them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests so far by their method, and the bytes of their bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub requests: BTreeMap<String, u64>,
    pub body_bytes: u64,
}

/// A proxy on the loopback, whose threads end with the connections.
#[derive(Debug)]
pub struct CountingProxy {
    pub port: u16,
    counted: Arc<Mutex<Counted>>,
}

impl CountingProxy {
    /// Starts a proxy in front of a port of the loopback.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let counted = Arc::new(Mutex::new(Counted::default()));
        let shared = Arc::clone(&counted);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = Arc::clone(&shared);
                std::thread::spawn(move || drop(carry(&client, server, &counted)));
            }
        });
        Self { port, counted }
    }

    /// What was counted since the last call.
    pub fn take(&self) -> Counted {
        std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Carries the requests of one connection to the server, and its answers back as they are.
fn carry(client: &TcpStream, server: u16, counted: &Mutex<Counted>) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    let (mut answers, mut back) = (upstream.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut answers, &mut back));
        drop(back.shutdown(Shutdown::Both));
    });
    let mut requests = BufReader::new(client);
    loop {
        let (mut head, mut length) = (Vec::new(), 0_u64);
        loop {
            let before = head.len();
            if requests.read_until(b'\n', &mut head)? == 0 {
                return upstream.shutdown(Shutdown::Write);
            }
            let line = String::from_utf8_lossy(head.get(before..).unwrap_or_default()).to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let method = String::from_utf8_lossy(&head).split(' ').next().unwrap_or_default().to_owned();
        {
            let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
            *counted.requests.entry(method).or_default() += 1;
            counted.body_bytes += length;
        }
        upstream.write_all(&head)?;
        std::io::copy(&mut (&mut requests).take(length), &mut upstream)?;
    }
}
