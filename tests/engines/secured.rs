//! https:// with private certificates.

use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{load, repository};
use crate::tls::tls;

#[apply(both_engines)]
fn a_server_behind_tls_is_trusted_by_its_certificate_alone(engine: Engine) {
    load(&engine);
    let tls = tls(&engine.url(), engine.root());
    let chsnap = repository(&engine).url(&tls.url);
    let certificate = tls.certificate.to_string_lossy();
    chsnap.json(0, &["create", "--ca-file", &certificate]);
    let run = chsnap.expect(1, &["create"]);
    assert!(run.stderr.contains("cannot reach ClickHouse") && run.stderr.contains("ertificate"), "{}", run.stderr);
    let run = chsnap.expect(1, &["create", "--ca-file", &tls.key.to_string_lossy()]);
    assert!(run.stderr.contains("no PEM certificate") && run.stderr.contains("hint:"), "{}", run.stderr);
    chsnap.expect(1, &["create", "--ca-file", "/nowhere.pem"]);
    assert_eq!(chsnap.json(0, &["list"])["snapshots"].as_array().map(Vec::len), Some(1));
}
