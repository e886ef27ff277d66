//! TLS in front of a plain port, with a certificate that no client trusts by default.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A proxy that ends with this value.
pub struct Tls {
    proxy: Child,
    pub url: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Drop for Tls {
    fn drop(&mut self) {
        drop(self.proxy.stdin.take());
        self.proxy.wait().expect("the proxy ends");
    }
}

/// Starts the proxy in front of a plain address; certificate and key are files in `folder`.
pub fn tls(plain: &str, folder: &Path) -> Tls {
    let (certificate, key) = (folder.join("tls.pem"), folder.join("tls.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = plain.rsplit(':').next().expect("a port").trim_matches('/').to_owned();
    let script = crate::root().join("tests/support/tls_proxy.py");
    let mut proxy = Command::new("python3")
        .arg(script)
        .arg(&certificate)
        .arg(&key)
        .arg(port)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
    Tls { proxy, url: format!("https://localhost:{}", line.trim()), certificate, key }
}
