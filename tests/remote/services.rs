//! A snapshot on each protocol: sent, sent again, fetched on another host, listed, checked, read, removed, collected.
//!
//! What the servers of these tests lack is in `tests/support/object_store.rs`.

use std::fs;
use std::time::{Duration, Instant};

use rstest::rstest;
use rstest_reuse::apply;
use testkit::object_store::{ObjectServer, SECRET, each_service, here};

use crate::chsnap_command::Chsnap;
use crate::engine::free_port;
use crate::remote::support::{Lab, at, content, document, files_below, large_part, with_keys};
use crate::store::part;

fn with(chsnap: Chsnap, server: &ObjectServer) -> Chsnap {
    server.environment.iter().fold(chsnap, |chsnap, (name, value)| chsnap.env(name, value))
}

fn number(document: &serde_json::Value, of: &str, what: &str) -> u64 {
    document[of][what].as_u64().unwrap_or_else(|| panic!("{of}.{what}: {document}"))
}

#[apply(each_service)]
fn a_snapshot_goes_there_and_comes_back_and_garbage_goes(server: Option<ObjectServer>) {
    let Some(server) = &server else { return };
    let address = server.address.as_str();
    let lab = Lab::new();
    let first = lab.host.snapshot();
    let here = with(lab.chsnap(), server);
    let run = here.run(&["push", "latest", "--to", address, "--json", "-vv"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let pushed: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
    // Marker, two packs, one large object, the definitions, the commit.
    assert!(number(&pushed, "requests", "puts") <= 7, "{pushed}");
    // Named again it is looked at, and nothing is sent; nor is anything but a manifest for an equal snapshot.
    let again = document(&here, &["push", "latest", "--to", address], 0);
    assert_eq!((again["present"].as_u64(), number(&again, "requests", "sent_bytes")), (Some(1), 0), "{again}");
    let second = lab.host.snapshot();
    let equal = document(&here, &["push", "--new", "--to", address], 0);
    assert_eq!(number(&equal["snapshots"][0], "sent", "bytes"), 0, "{equal}");
    assert_eq!(equal["snapshots"][0]["reused_parts"].as_u64(), Some(3), "{equal}");
    // A third one, of which only one part is new.
    lab.host.put("a", "all_7_7_0", &part(7, 3, false));
    fs::remove_dir_all(lab.host.live().join("b/all_1_1_0")).expect("dropped");
    lab.host.put("b", "all_2_2_0", &large_part(17, 18));
    let third = lab.host.snapshot();
    document(&here, &["push", "--new", "--to", address], 0);

    let listed = document(&here, &["remote", "list", address], 0);
    let ids: Vec<&str> =
        listed["snapshots"].as_array().expect("a list").iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, [first, second, third].map(|id| id.to_string()));
    for arguments in [vec!["check"], vec!["verify"], vec!["verify", "--data"]] {
        let mut all = vec!["remote", arguments[0], address];
        all.extend(&arguments[1..]);
        let checked = document(&here, &all, 0);
        assert_eq!(checked["damage"].as_array().map(Vec::len), Some(0), "{checked}");
    }
    let clean = with(lab.elsewhere("clean"), server);
    for id in [first, third] {
        document(&clean, &["pull", &id.to_string(), "--from", address], 0);
        assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)));
    }
    // Both that have the dropped part go; its two objects are condemned, and deleted by a later run.
    let pruned = document(&here, &["remote", "prune", address, "--keep-last", "2", "--dry-run"], 0);
    assert_eq!(pruned["remove"].as_array().map(Vec::len), Some(1), "{pruned}");
    document(&here, &["remote", "rm", address, &first.to_string(), &second.to_string()], 0);
    let usage = document(&here, &["remote", "usage", address], 0);
    let garbage = number(&usage, "garbage", "objects");
    assert!(garbage >= 2, "{usage}");
    let collected = document(&here, &["remote", "gc", address], 0);
    assert_eq!((number(&collected, "condemned", "objects"), number(&collected, "deleted", "objects")), (garbage, 0));
    // Services give times in whole seconds: an object of the second of its condemnation counts as written since.
    std::thread::sleep(Duration::from_millis(1100));
    let collected = document(&here, &["remote", "gc", address, "--grace", "0s"], 0);
    assert_eq!(number(&collected, "deleted", "objects"), garbage, "{collected}");
    document(&here, &["remote", "verify", address, "--data"], 0);
    let usage = document(&here, &["remote", "usage", address], 0);
    assert_eq!((number(&usage, "garbage", "objects"), &usage["needed"]), (0, &usage["stored"]), "{usage}");
    // What is there is sent again where that is asked for.
    document(&here, &["push", "latest", "--to", address, "--resend"], 0);
    document(&here, &["remote", "verify", address, "--data"], 0);
    for secret in &server.secrets {
        assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret), "{}", run.stderr);
        for (path, _) in files_below(clean.repo()).into_iter().chain(files_below(&lab.host.repo())) {
            let bytes = fs::read(&path).expect("it is read");
            assert!(!bytes.windows(secret.len()).any(|word| word == secret.as_bytes()), "{}", path.display());
        }
    }
}

#[rstest]
#[case::s3(here(ObjectServer::s3()))]
#[case::azure(here(ObjectServer::azure()))]
#[case::directory(here(ObjectServer::directory()))]
fn a_prefix_of_any_letters_is_one(#[case] server: Option<ObjectServer>) {
    let Some(server) = &server else { return };
    let (head, query) = server.address.split_once('?').map_or((server.address.as_str(), ""), |split| split);
    let lab = Lab::new();
    let id = lab.host.snapshot();
    for (number, prefix) in ["größer & kleiner", "日本/データ", "a+b%20c", "x=1,y"].into_iter().enumerate() {
        let address = if query.is_empty() { format!("{head}/{prefix}") } else { format!("{head}/{prefix}?{query}") };
        document(&with(lab.chsnap(), server), &["push", "latest", "--to", &address], 0);
        let clean = with(lab.elsewhere(&format!("clean{number}")), server);
        document(&clean, &["remote", "check", &address], 0);
        document(&clean, &["pull", "latest", "--from", &address], 0);
        assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)), "{prefix}");
        let listed = document(&clean, &["remote", "list", &address], 0);
        assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(1), "{prefix}: {listed}");
    }
}

/// A service whose retention cannot be read never looks like one that has none.
#[test]
fn a_push_says_where_it_cannot_know_how_long_objects_are_retained() {
    let servers = [ObjectServer::google(), ObjectServer::azure(), ObjectServer::directory()];
    for server in servers.iter().filter_map(|server| server.as_ref().ok()) {
        let has_retention = !server.address.starts_with("file:");
        let lab = Lab::new();
        lab.host.snapshot();
        let here = with(lab.chsnap(), server);
        let note = "the retention of this service is not read";
        let first = here.run(&["push", "latest", "--to", &server.address]);
        assert!(first.code == 0 && !first.stdout.contains(note), "nothing is reused: {first:?}");
        lab.host.snapshot();
        let second = here.run(&["push", "latest", "--to", &server.address]);
        assert!(second.code == 0 && second.stdout.contains(note) == has_retention, "{second:?}");
        lab.host.snapshot();
        let third = document(&here, &["push", "latest", "--to", &server.address], 0);
        assert_eq!(third["object_lock"]["state"] == "unread", has_retention, "{third}");
    }
}

fn s3() -> ObjectServer {
    ObjectServer::s3().unwrap_or_else(|missing| panic!("{missing}"))
}

#[test]
fn a_bucket_that_is_missing_is_an_error_with_a_hint() {
    let s3 = s3();
    let lab = Lab::new();
    lab.host.snapshot();
    let address = s3.address.replace("bucket", "nowhere");
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

/// As buckets with object lock want it.
#[test]
fn objects_go_with_a_checksum_where_the_address_says_so() {
    let s3 = s3();
    let lab = Lab::new();
    lab.host.snapshot();
    for algorithm in ["crc32c", "md5"] {
        let address = format!("{}&checksum={algorithm}", s3.address.replace("/chsnap", &format!("/{algorithm}")));
        document(&with_keys(lab.chsnap()), &["push", "latest", "--to", &address], 0);
        document(&with_keys(lab.chsnap()), &["remote", "verify", &address, "--data"], 0);
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_at_once_and_one_that_is_trusted_is_taken() {
    let s3 = s3();
    let lab = Lab::new();
    lab.host.snapshot();
    let tls = testkit::tls::tls(&format!("http://127.0.0.1:{}", s3.port), lab.folder.path());
    let address = format!("s3://bucket/x?endpoint={}&region=us-east-1", tls.url);
    let begun = Instant::now();
    let run = with_keys(lab.chsnap()).run(&["push", "latest", "--to", &address]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("hint: ") && run.stderr.contains("SSL_CERT_FILE"), "{}", run.stderr);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let trusting = with_keys(lab.chsnap()).env("SSL_CERT_FILE", tls.certificate.to_str().expect("text"));
    document(&trusting, &["push", "latest", "--to", &address], 0);
}
