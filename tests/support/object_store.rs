//! Servers of object stores, on the loopback: S3's protocol as `moto` serves it (no TLS, no permissions), and Google's as
//! `gcp-storage-emulator` does.
//!
//! `tests/support/engines/install stores` fetches both.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::free_port;

/// Credentials for `moto`, which accepts any.
pub const KEY: &str = "AKIAEXAMPLE";
pub const SECRET: &str = "hunter2-hunter2";

/// A server with one bucket, `bucket`, which ends with this value.
#[derive(Debug)]
pub struct ObjectServer {
    child: Child,
    pub port: u16,
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program in the place where `tests/support/engines/install stores` puts it.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("CHSNAP_STORES").map(PathBuf::from);
    let own = || {
        let engines = std::env::var_os("CHSNAP_ENGINES").map(PathBuf::from);
        engines.unwrap_or_else(|| crate::root().join(".engines")).join("stores")
    };
    let program = cache.unwrap_or_else(own).join("bin").join(name);
    assert!(program.exists(), "{} is missing: tests/support/engines/install stores", program.display());
    program
}

impl ObjectServer {
    /// S3's protocol.
    #[track_caller]
    pub fn s3() -> Self {
        let port = free_port();
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Self::start(command, port);
        server.put("", &[]);
        server
    }

    /// Google's protocol.
    #[track_caller]
    pub fn google() -> Self {
        let port = free_port();
        let mut command = Command::new(program("gcp-storage-emulator"));
        command.args(["start", "--host", "127.0.0.1", "--in-memory", "--default-bucket", "bucket"]);
        command.args(["--port", &port.to_string()]);
        Self::start(command, port)
    }

    #[track_caller]
    fn start(mut command: Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
        let server = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Stores these bytes under a key of the bucket of S3; the empty key makes the bucket.
    #[track_caller]
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let encoded: String = key.bytes().map(encoded).collect();
        let made = ureq::put(format!("http://127.0.0.1:{}/bucket/{encoded}", self.port).trim_end_matches('/'))
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"))
            .header("content-type", "application/octet-stream")
            .send(bytes);
        assert!(made.is_ok(), "{key}: {made:?}");
    }

    /// Stores every file below a directory, under its path with this prefix.
    #[track_caller]
    pub fn put_tree(&self, directory: &Path, prefix: &str) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            let key = format!("{prefix}/{}", entry.file_name().to_str().expect("a name"));
            if entry.path().is_dir() {
                self.put_tree(&entry.path(), &key);
            } else {
                self.put(&key, &std::fs::read(entry.path()).expect("readable"));
            }
        }
    }
}

/// A byte of a key in an address.
fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
