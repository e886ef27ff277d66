//! Object lock: what a push reuses is locked for as long as what it sends.
//!
//! `moto` locks new objects by the default of their bucket, wants a checksum of them, and refuses to delete a locked
//! version. It neither refuses to shorten a lock nor has a permission for it: a proxy refuses here. Its check of signatures is
//! off, because that refuses lists whose prefix has a slash.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;
use testkit::fault_proxy::{Asked, Fault, FaultProxy, s3_error};
use testkit::object_store::{ObjectServer, SECRET};

use crate::chsnap_command::Chsnap;
use crate::remote::support::{Lab, document, large_part, with_keys};

const BUCKET: &str = "locked";

struct LockLab {
    lab: Lab,
    s3: ObjectServer,
}

/// The store's address by this port: its own, or that of a proxy before it.
fn address_at(port: u16) -> String {
    format!("s3://{BUCKET}/deep/prefix?endpoint=http://127.0.0.1:{port}&region=us-east-1&checksum=md5")
}

impl LockLab {
    fn new(mode: &str) -> Self {
        let s3 = ObjectServer::s3().unwrap_or_else(|missing| panic!("{missing}"));
        s3.lock_bucket(BUCKET, mode, 30);
        Self { lab: Lab::new(), s3 }
    }

    fn address(&self) -> String {
        address_at(self.s3.port)
    }

    fn chsnap(&self) -> Chsnap {
        with_keys(self.lab.chsnap())
    }

    /// Pushes a snapshot; then twenty days pass, and there is a second one, of which a part is new.
    fn reused(mode: &str) -> Self {
        let locked = Self::new(mode);
        locked.lab.host.snapshot();
        let first = document(&locked.chsnap(), &["push", "latest", "--to", &locked.address()], 0);
        let lock = &first["object_lock"];
        assert_eq!((lock["mode"].as_str(), lock["looked_at"].as_u64()), (Some(mode), Some(0)), "{first}");
        assert_eq!(first["requests"]["locks"].as_u64(), Some(1), "{first}");
        locked.lab.host.put("b", "all_9_9_0", &large_part(50, 51));
        std::fs::remove_dir_all(locked.lab.host.live().join("a/all_2_2_0")).expect("dropped");
        locked.lab.host.snapshot();
        let until = (Utc::now() + TimeDelta::days(10)).to_rfc3339_opts(SecondsFormat::Secs, true);
        for key in locked.s3.keys(BUCKET, "deep/") {
            locked.s3.set_lock(BUCKET, &key, mode, &until);
        }
        locked
    }

    /// The days for which an object will be locked yet, and its mode.
    fn days(&self, key: &str) -> (i64, String) {
        let (mode, until) = self.s3.lock_of(BUCKET, key).expect("a lock");
        let until: DateTime<Utc> = until.parse().expect("a time");
        // The end is that of a new object, to the full hour.
        ((until - Utc::now() + TimeDelta::minutes(5)).num_days(), mode)
    }

    /// All objects of the store with the days of their locks.
    fn locks(&self, chsnap: &Chsnap, snapshot: &str) -> Vec<i64> {
        let clean = document(chsnap, &["remote", "verify", &self.address(), snapshot], 0);
        assert_eq!(clean["damage"].as_array().map(Vec::len), Some(0));
        let keys = self.s3.keys(BUCKET, "deep/prefix/objects/");
        keys.iter().map(|key| self.days(key).0).collect()
    }
}

fn number(of: &Value, what: &str) -> u64 {
    of[what].as_u64().unwrap_or_else(|| panic!("{what}: {of}"))
}

#[test]
fn reused_objects_are_locked_as_long_as_new_ones_and_nothing_else_is() {
    for mode in ["GOVERNANCE", "COMPLIANCE"] {
        let locked = LockLab::reused(mode);
        let run = locked.chsnap().run(&["push", "latest", "--to", &locked.address()]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(&format!("object lock ({mode}) of new objects ends ")), "{}", run.stdout);
        // Of the four objects of the first snapshot, that of the dropped part is not needed any more.
        let mut days = locked.locks(&locked.chsnap(), "latest");
        days.sort_unstable();
        assert_eq!(days.first(), Some(&10), "{days:?}");
        assert!(days.len() > 4 && days.iter().skip(1).all(|days| *days == 30), "{days:?}");
        assert_eq!(locked.days("deep/prefix/chsnap-remote.json"), (30, mode.to_owned()));
        let manifests = locked.s3.keys(BUCKET, "deep/prefix/snapshots/");
        let days: Vec<i64> = manifests.iter().map(|key| locked.days(key).0).collect();
        assert_eq!(days, [10, 30], "the first snapshot ends as it did");
        for key in manifests {
            assert!(!locked.s3.removes_version(BUCKET, &key), "{key} is locked");
        }
        // The one that is there is as long locked as its manifest.
        // What was sent a moment before it ends a moment earlier, once.
        document(&locked.chsnap(), &["push", "latest", "--to", &locked.address()], 0);
        let again = document(&locked.chsnap(), &["push", "latest", "--to", &locked.address()], 0);
        assert_eq!((number(&again, "present"), number(&again["object_lock"], "extended")), (1, 0), "{again}");
    }
}

#[test]
fn requests_are_counted_and_a_bucket_without_locks_costs_one() {
    let locked = LockLab::reused("GOVERNANCE");
    let proxy = FaultProxy::start(locked.s3.port, |_| Fault::None);
    let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &address_at(proxy.port)], 0);
    let lock = &pushed["object_lock"];
    let (looked_at, extended) = (number(lock, "looked_at"), number(lock, "extended"));
    assert!(extended > 2 && looked_at == extended, "{pushed}");
    assert_eq!(number(&pushed["requests"], "locks"), 1 + looked_at + extended, "{pushed}");
    let sent = proxy.asked().iter().filter(|asked| asked.target.ends_with("?retention")).count() as u64;
    assert_eq!(sent, extended);
    assert_eq!(lock["state"], "extended", "{pushed}");
    assert!(!pushed.to_string().contains(SECRET));
    let none = format!("s3://bucket/none?endpoint=http://127.0.0.1:{}&region=us-east-1", locked.s3.port);
    for expected in [1, 1] {
        let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &none], 0);
        assert_eq!(number(&pushed["requests"], "locks"), expected, "{pushed}");
        assert!(pushed["object_lock"].is_null(), "{pushed}");
    }
    let nothing = document(&locked.chsnap(), &["push", "--new", "--to", &none], 0);
    let nothing_more = document(&locked.chsnap(), &["push", "--new", "--to", &none], 0);
    assert_eq!(number(&nothing_more["requests"], "locks"), 0, "{nothing} {nothing_more}");
}

fn is_extension(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.target.ends_with("?retention")
}

#[test]
fn credentials_that_may_not_extend_are_a_warning_that_names_the_parts_and_later_ones_heal_it() {
    let locked = LockLab::reused("GOVERNANCE");
    let refuse = |asked: &Asked| if is_extension(asked) { s3_error(403, "AccessDenied") } else { Fault::None };
    let proxy = FaultProxy::start(locked.s3.port, refuse);
    let address = address_at(proxy.port);
    let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &address], 3);
    let lock = &pushed["object_lock"];
    assert_eq!((lock["state"].as_str(), number(lock, "extended")), (Some("incomplete"), 0), "{pushed}");
    assert_eq!(number(lock, "not_extended"), number(lock, "looked_at"), "{pushed}");
    let warning = pushed["warnings"][0].as_str().expect("a warning");
    assert_eq!(pushed["warning_list"][0]["kind"], "lock_not_extended", "{pushed}");
    for text in ["d.a all_1_1_0", "AccessDenied", "the first lock ends"] {
        assert!(warning.contains(text), "{warning}");
    }
    assert_eq!(number(&pushed, "pushed"), 1, "the snapshot is there all the same");
    // It is looked at again when it is named, by those who may.
    let still = document(&locked.chsnap(), &["push", "latest", "--to", &address], 3);
    assert_eq!(number(&still["object_lock"], "extended"), 0, "{still}");
    let healed = document(&locked.chsnap(), &["push", "latest", "--to", &locked.address()], 0);
    assert!(number(&healed["object_lock"], "extended") >= number(lock, "not_extended"), "{healed}");
    let mut days = locked.locks(&locked.chsnap(), "latest");
    days.sort_unstable();
    assert!(days.iter().skip(1).all(|days| *days == 30), "{days:?}");
}

#[test]
fn credentials_that_may_not_ask_for_the_lock_are_no_claim() {
    let locked = LockLab::reused("GOVERNANCE");
    let refuse = |asked: &Asked| {
        if asked.target.ends_with("?object-lock") { s3_error(403, "AccessDenied") } else { Fault::None }
    };
    let proxy = FaultProxy::start(locked.s3.port, refuse);
    // An address with a checksum is of a bucket with locks.
    let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &address_at(proxy.port)], 3);
    assert_eq!(pushed["object_lock"]["state"], "unknown", "{pushed}");
    assert!(pushed["warnings"].to_string().contains("s3:GetBucketObjectLockConfiguration"), "{pushed}");
    let plain = format!("s3://bucket/plain?endpoint=http://127.0.0.1:{}&region=us-east-1", proxy.port);
    let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &plain], 0);
    assert_eq!(pushed["object_lock"]["state"], "unknown", "{pushed}");
    // A service that does not know the request has no locks.
    for (status, code) in
        [(501, "NotImplemented"), (405, "MethodNotAllowed"), (404, "ObjectLockConfigurationNotFoundError")]
    {
        let proxy = FaultProxy::start(locked.s3.port, move |asked: &Asked| {
            if asked.target.ends_with("?object-lock") { s3_error(status, code) } else { Fault::None }
        });
        let address = format!("s3://bucket/{status}?endpoint=http://127.0.0.1:{}&region=us-east-1", proxy.port);
        let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &address], 0);
        assert!(pushed["object_lock"].is_null(), "{pushed}");
    }
}

#[test]
fn a_request_that_fails_for_a_while_is_repeated_and_one_that_keeps_failing_commits_nothing() {
    let locked = LockLab::reused("GOVERNANCE");
    let few = std::sync::atomic::AtomicUsize::new(0);
    let proxy = FaultProxy::start(locked.s3.port, move |asked| {
        let is_early = || few.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 4;
        if !is_extension(asked) || !is_early() {
            Fault::None
        } else if asked.number % 2 == 0 {
            s3_error(503, "SlowDown")
        } else {
            Fault::NoAnswer
        }
    });
    let pushed = document(&locked.chsnap(), &["push", "latest", "--to", &address_at(proxy.port)], 0);
    assert_eq!((pushed["object_lock"]["state"].as_str(), number(&pushed, "pushed")), (Some("extended"), 1), "{pushed}");
    locked.lab.host.put("a", "all_7_7_0", &large_part(60, 61));
    locked.lab.host.snapshot();
    let expired = FaultProxy::start(locked.s3.port, |asked| {
        if asked.target.ends_with("?object-lock") { s3_error(400, "ExpiredToken") } else { Fault::None }
    });
    let run = locked.chsnap().run(&["push", "latest", "--to", &address_at(expired.port)]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("ExpiredToken") && run.stderr.contains("hint: are the credentials"), "{}", run.stderr);
    assert_eq!(locked.s3.keys(BUCKET, "deep/prefix/snapshots/").len(), 2);
}
