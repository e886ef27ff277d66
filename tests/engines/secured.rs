//! https:// with certificates of one's own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::engine::{Engine, both_engines};
use crate::support::{load, repository};

/// TLS in front of an engine; it ends with this value.
struct Tls {
    proxy: Child,
    url: String,
    certificate: PathBuf,
}

impl Drop for Tls {
    fn drop(&mut self) {
        drop(self.proxy.stdin.take());
        self.proxy.wait().expect("the proxy ends");
    }
}

fn tls(engine: &Engine) -> Tls {
    let (certificate, key) = (engine.root().join("tls.pem"), engine.root().join("tls.key"));
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
    let port = engine.url().rsplit(':').next().expect("a port").trim_matches('/').to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls_proxy.py");
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
    Tls { proxy, url: format!("https://localhost:{}", line.trim()), certificate }
}

both_engines! {
    fn a_server_behind_tls_is_trusted_by_its_certificate_alone(engine: Engine) {
        load(&engine);
        let tls = tls(&engine);
        let chsnap = repository(&engine).url(&tls.url);
        let certificate = tls.certificate.to_string_lossy();
        chsnap.json(0, &["create", "--ca-file", &certificate]);
        let run = chsnap.expect(1, &["create"]);
        assert!(run.stderr.contains("cannot reach ClickHouse") && run.stderr.contains("ertificate"), "{}", run.stderr);
        let key = engine.root().join("tls.key");
        let run = chsnap.expect(1, &["create", "--ca-file", &key.to_string_lossy()]);
        assert!(run.stderr.contains("no PEM certificate") && run.stderr.contains("hint:"), "{}", run.stderr);
        chsnap.expect(1, &["create", "--ca-file", "/nowhere.pem"]);
        assert_eq!(chsnap.json(0, &["list"])["snapshots"].as_array().map(Vec::len), Some(1));
    }
}
