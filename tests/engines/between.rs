//! A proxy to the server that runs a closure before the first freeze.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chsnap_command::{Chsnap, Run};
use crate::engine::Engine;

/// Runs chsnap; `act` is called when the first freeze is asked for, which waits for it.
pub(crate) fn run_with(engine: &Engine, chsnap: &Chsnap, arguments: &[&str], act: impl FnOnce() + Send) -> Run {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = engine.url().trim_start_matches("http://").to_owned();
    let (act, is_over) = (Mutex::new(Some(act)), AtomicBool::new(false));
    let chsnap = chsnap.clone().url(&format!("http://{address}"));
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let run = chsnap.run(arguments);
            is_over.store(true, Ordering::Relaxed);
            drop(TcpStream::connect(address));
            run
        });
        for client in listener.incoming() {
            let client = client.expect("a connection");
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let (server, act) = (&server, &act);
            scope.spawn(move || {
                pass(&client, server, |request| {
                    if has(request, b"ALTER TABLE") && has(request, b" FREEZE") {
                        // Other freezes wait here too.
                        let mut act = act.lock().expect("nothing has panicked");
                        if let Some(act) = act.take() {
                            act();
                        }
                    }
                });
            });
        }
        run.join().expect("chsnap runs")
    });
    assert!(act.into_inner().expect("nothing has panicked").is_none(), "nothing was frozen: {run:?}");
    run
}

/// Hands requests on until there are no more, each by a connection of its own: the engine closes one that is idle while
/// something happens.
fn pass(mut client: &TcpStream, server: &str, mut see: impl FnMut(&[u8])) {
    let (mut buffer, mut read) = (vec![0; 1 << 16], Vec::new());
    std::thread::scope(|scope| {
        let mut last: Option<TcpStream> = None;
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            read.extend_from_slice(&buffer[..count]);
            let Some(length) = request_length(&read).filter(|length| read.len() >= *length) else { continue };
            let request: Vec<u8> = read.drain(..length).collect();
            see(&request);
            let connection = TcpStream::connect(server).expect("the engine listens");
            let mut answers = connection.try_clone().expect("a socket");
            scope.spawn(move || {
                // The client may have gone.
                drop(std::io::copy(&mut answers, &mut client));
            });
            (&connection).write_all(&request).expect("the engine reads");
            if let Some(last) = last.replace(connection) {
                drop(last.shutdown(Shutdown::Both));
            }
        }
        if let Some(last) = last {
            drop(last.shutdown(Shutdown::Both));
        }
    });
}

/// The length of the first request, head and body, once its head is whole.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    Some(head + length.unwrap_or(0))
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
