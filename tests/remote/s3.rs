//! The same over real protocols: S3 as `moto` serves it, without TLS and permissions.

use std::fs;
use std::time::{Duration, Instant};

use testkit::object_store::{KEY, ObjectServer, SECRET};

use crate::chsnap_command::Chsnap;
use crate::engine::free_port;
use crate::remote::support::{Lab, at, content, document, files_below};

fn address(server: &ObjectServer) -> String {
    format!("s3://bucket/chsnap?endpoint=http://127.0.0.1:{}&region=us-east-1", server.port)
}

fn with_keys(chsnap: Chsnap) -> Chsnap {
    chsnap.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET)
}

#[test]
fn a_snapshot_goes_to_s3_and_comes_back_and_no_secret_is_written_anywhere() {
    let s3 = ObjectServer::s3();
    let address = address(&s3);
    let lab = Lab::new();
    let id = lab.host.snapshot();
    let here = with_keys(lab.chsnap());
    let run = here.run(&["push", "latest", "--to", &address, "--json", "-vv"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains(SECRET) && !run.stdout.contains(SECRET), "{}", run.stderr);
    let pushed: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
    // Marker, two packs, one large object, the definitions, the commit.
    let puts = pushed["requests"]["puts"].as_u64().expect("a number");
    assert!(puts <= 7, "{pushed}");
    document(&here, &["remote", "check", &address], 0);
    document(&here, &["remote", "verify", &address, "--data"], 0);
    let clean = with_keys(lab.elsewhere("clean"));
    document(&clean, &["pull", "latest", "--from", &address], 0);
    assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)));
    for (path, _) in files_below(clean.repo()).into_iter().chain(files_below(&lab.host.repo())) {
        let bytes = fs::read(&path).expect("it is read");
        assert!(!bytes.windows(SECRET.len()).any(|word| word == SECRET.as_bytes()), "{}", path.display());
    }
    lab.host.put("a", "all_7_7_0", &crate::store::part(7, 3, false));
    lab.host.snapshot();
    let next = document(&here, &["push", "--new", "--to", &address], 0);
    assert_eq!(next["snapshots"][0]["reused_parts"].as_u64(), Some(3), "{next}");
    document(&here, &["remote", "rm", &address, &id.to_string()], 0);
    let collected = document(&here, &["remote", "gc", &address], 0);
    assert_eq!(collected["deleted"]["objects"].as_u64(), Some(0), "{collected}");
}

/// The same by Google's protocol, as `gcp-storage-emulator` serves it: no credentials, no conditions.
#[test]
fn a_snapshot_goes_to_google_and_comes_back() {
    let server = ObjectServer::google();
    let address = format!("gs://bucket/p?endpoint=http://127.0.0.1:{}&anonymous", server.port);
    let lab = Lab::new();
    let id = lab.host.snapshot();
    document(&lab.chsnap(), &["push", "latest", "--to", &address], 0);
    document(&lab.chsnap(), &["remote", "verify", &address, "--data"], 0);
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", "latest", "--from", &address], 0);
    assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)));
}

#[test]
fn a_bucket_that_is_missing_is_an_error_with_a_hint() {
    let s3 = ObjectServer::s3();
    let lab = Lab::new();
    lab.host.snapshot();
    let address = address(&s3).replace("bucket", "nowhere");
    let run = with_keys(lab.chsnap()).run(&["push", "latest", "--to", &address]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("NoSuchBucket") || run.stderr.contains("hint:"), "{}", run.stderr);
}

#[test]
fn a_store_that_does_not_answer_is_an_error_and_nothing_is_committed() {
    let lab = Lab::new();
    lab.host.snapshot();
    let address = format!("s3://bucket/x?endpoint=http://127.0.0.1:{}", free_port());
    let begun = Instant::now();
    let run = with_keys(lab.chsnap()).run(&["push", "latest", "--to", &address]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("error: cannot") && !run.stderr.contains(SECRET), "{}", run.stderr);
    assert!(begun.elapsed() > Duration::from_secs(1), "it was tried again");
}
