//! Faults between chsnap and a store, by a proxy: cut, throttled, refused, expired, lied to. A command ends well or with
//! an error that says why; a snapshot is never committed that is not whole, and the next push or pull takes up the rest.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use testkit::fault_proxy::{Asked, Fault, FaultProxy, s3_error};
use testkit::object_store::{ObjectServer, SECRET};

use crate::chsnap_command::{Chsnap, Run};
use crate::remote::support::{Lab, assert_nothing_half, at, content, document, with_keys};

struct Between {
    lab: Lab,
    id: chsnap::model::SnapshotId,
    s3: ObjectServer,
}

fn address(port: u16) -> String {
    format!("s3://bucket/chsnap?endpoint=http://127.0.0.1:{port}&region=us-east-1")
}

impl Between {
    fn new() -> Self {
        let lab = Lab::new();
        let id = lab.host.snapshot();
        Self { lab, id, s3: ObjectServer::s3().unwrap_or_else(|missing| panic!("{missing}")) }
    }

    fn proxy(&self, decide: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> FaultProxy {
        FaultProxy::start(self.s3.port, decide)
    }

    fn push(&self, port: u16) -> Run {
        with_keys(self.lab.chsnap()).run(&["push", "latest", "--to", &address(port)])
    }

    fn committed(&self) -> usize {
        self.s3.keys("bucket", "chsnap/snapshots/").len()
    }

    /// Pushes without a fault, and everything is there and comes back.
    fn assert_taken_up(&self) -> Value {
        let pushed = document(&with_keys(self.lab.chsnap()), &["push", "latest", "--to", &address(self.s3.port)], 0);
        self.assert_whole();
        pushed
    }

    fn assert_whole(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        let clean = with_keys(Chsnap::new(&folder.path().join("repo")));
        let address = address(self.s3.port);
        document(&clean, &["remote", "verify", &address, "--data"], 0);
        document(&clean, &["pull", "latest", "--from", &address], 0);
        assert_eq!(content(&at(&clean, self.id)), content(&self.lab.host.at(self.id)));
    }
}

/// Each first attempt of some requests fails in these ways.
#[test]
fn requests_that_fail_once_are_repeated() {
    type Failing = fn() -> Fault;
    let faults: [Failing; 5] = [
        || Fault::CutRequest(100),
        || Fault::CutAnswer(10),
        || Fault::NoAnswer,
        || s3_error(503, "SlowDown"),
        || s3_error(500, "InternalError"),
    ];
    let between = Between::new();
    let count = AtomicUsize::new(0);
    let proxy = between.proxy(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number.is_multiple_of(3) { faults[number / 3 % faults.len()]() } else { Fault::None }
    });
    let run = between.push(proxy.port);
    assert_eq!(run.code, 0, "{}\n{:#?}", run.stderr, proxy.asked());
    between.assert_whole();
    let clean = with_keys(between.lab.elsewhere("clean"));
    document(&clean, &["pull", "latest", "--from", &address(proxy.port)], 0);
    assert_eq!(content(&at(&clean, between.id)), content(&between.lab.host.at(between.id)));
    document(&clean, &["remote", "verify", &address(proxy.port), "--data"], 0);
}

/// Each way in which credentials stop to work, from some request on.
#[test]
fn credentials_that_end_in_the_middle_are_an_error_with_a_hint_and_the_next_push_takes_it_up() {
    for (status, code, hint) in [
        (400, "ExpiredToken", "hint: are the credentials in the environment"),
        (403, "AccessDenied", "hint: are the credentials in the environment"),
        (403, "RequestTimeTooSkewed", "hint: set the clock of this host"),
    ] {
        for after in [0, 5] {
            let between = Between::new();
            let proxy =
                between.proxy(move |asked| if asked.number < after { Fault::None } else { s3_error(status, code) });
            let run = between.push(proxy.port);
            assert_eq!(run.code, 1, "{code} after {after}: {}", run.stderr);
            let is_told =
                run.stderr.contains(code) && run.stderr.contains(hint) && run.stderr.contains("error: cannot");
            assert!(is_told && !run.stderr.contains(SECRET), "{code} after {after}: {}", run.stderr);
            assert_eq!(between.committed(), 0, "{code} after {after}");
            between.assert_taken_up();
        }
    }
}

fn is_object(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.target.contains("/objects/")
}

#[test]
fn objects_that_are_acknowledged_and_not_kept_are_never_committed() {
    let lies: [fn(&Asked) -> Fault; 2] =
        [|_| Fault::Dropped, |asked| Fault::Truncated(asked.body_bytes.saturating_sub(1))];
    for lie in lies {
        // Once: it is sent again.
        let between = Between::new();
        let is_first = AtomicUsize::new(0);
        let proxy = between.proxy(move |asked| {
            if is_object(asked) && is_first.fetch_add(1, Ordering::SeqCst) == 0 { lie(asked) } else { Fault::None }
        });
        let run = between.push(proxy.port);
        assert_eq!((run.code, between.committed()), (0, 1), "{}", run.stderr);
        between.assert_whole();
        // Always: nothing is committed.
        let between = Between::new();
        let proxy = between.proxy(move |asked| if is_object(asked) { lie(asked) } else { Fault::None });
        let run = between.push(proxy.port);
        assert_eq!((run.code, between.committed()), (1, 0), "{}", run.stderr);
        assert!(run.stderr.contains("does not keep it; nothing was committed"), "{}", run.stderr);
        between.assert_taken_up();
    }
}

#[test]
fn a_manifest_that_is_acknowledged_and_not_kept_is_no_commit() {
    fn is_commit(asked: &Asked) -> bool {
        asked.method == "PUT" && asked.target.contains("/snapshots/")
    }
    for lie in [Fault::Dropped, Fault::Truncated(40)] {
        let between = Between::new();
        let shown = lie.clone();
        let proxy = between.proxy(move |asked| if is_commit(asked) { lie.clone() } else { Fault::None });
        let run = between.push(proxy.port);
        assert_eq!((run.code, between.committed()), (12, 0), "{shown:?}: {}", run.stderr);
        assert!(run.stderr.contains("nothing was committed"), "{}", run.stderr);
        between.assert_taken_up();
    }
    // The answer is lost: it was committed, and the repeated request finds it.
    let between = Between::new();
    let is_first = AtomicUsize::new(0);
    let proxy = between.proxy(move |asked| {
        if is_commit(asked) && is_first.fetch_add(1, Ordering::SeqCst) == 0 { Fault::NoAnswer } else { Fault::None }
    });
    let run = between.push(proxy.port);
    assert_eq!((run.code, between.committed()), (0, 1), "{}", run.stderr);
    between.assert_whole();
}

#[test]
fn a_store_that_lies_to_a_pull_is_damaged_and_nothing_is_pulled() {
    let between = Between::new();
    assert_eq!(between.push(between.s3.port).code, 0);
    let is_read = |asked: &Asked| asked.method == "GET" && asked.target.contains("/objects/");
    let lies: [fn() -> Fault; 3] =
        [|| Fault::Shortened(200), || Fault::Swapped(vec![7; 1_500_000]), || s3_error(404, "NoSuchKey")];
    for lie in lies {
        let proxy = between.proxy(move |asked| if is_read(asked) { lie() } else { Fault::None });
        let clean = with_keys(between.lab.elsewhere("clean"));
        let run = clean.run(&["pull", "latest", "--from", &address(proxy.port)]);
        assert_eq!(run.code, 12, "{:?}: {}", lie(), run.stderr);
        assert!(run.stderr.contains("objects/"), "{}", run.stderr);
        assert_nothing_half(&clean);
        let checked = document(&clean, &["remote", "verify", &address(proxy.port), "--data"], 12);
        assert!(checked["damage"].as_array().is_some_and(|damage| !damage.is_empty()), "{checked}");
    }
    for (method, place, lie) in [
        ("GET", ".json.zst", Fault::Shortened(100)),
        ("GET", ".json.zst", Fault::Swapped(b"<html>pay for this network</html>".to_vec())),
        ("GET", "chsnap-remote.json", Fault::Swapped(b"<html>pay for this network</html>".to_vec())),
    ] {
        let shown = (place, lie.clone());
        let is_it = move |asked: &Asked| asked.method == method && asked.target.contains(place);
        let proxy = between.proxy(move |asked| if is_it(asked) { lie.clone() } else { Fault::None });
        let clean = with_keys(between.lab.elsewhere("clean"));
        let run = clean.run(&["pull", "latest", "--from", &address(proxy.port)]);
        assert_eq!(run.code, 12, "{shown:?}: {}", run.stderr);
        assert_nothing_half(&clean);
    }
    between.assert_whole();
}

/// What a captive portal or a wrong endpoint answers to everything.
#[test]
fn a_page_in_place_of_every_answer_is_an_error() {
    let between = Between::new();
    let page = "<html>pay for this network</html>";
    for answered in [Fault::Answered(200, page.to_owned()), Fault::Answered(302, page.to_owned())] {
        let shown = answered.clone();
        let proxy = between.proxy(move |_| answered.clone());
        for arguments in [vec!["push", "latest", "--to"], vec!["remote", "list"], vec!["remote", "check"]] {
            let mut all = arguments.clone();
            let address = address(proxy.port);
            all.push(&address);
            let run = with_keys(between.lab.chsnap()).run(&all);
            assert!(matches!(run.code, 1 | 12), "{arguments:?} {shown:?}: {} {}", run.code, run.stderr);
            assert!(run.stderr.contains("error: "), "{}", run.stderr);
        }
    }
    assert_eq!(between.committed(), 0);
    between.assert_taken_up();
}

/// A list that lacks a snapshot condemns its objects, and no more: the next gc has the right list.
#[test]
fn gc_by_a_list_that_lacks_a_snapshot_deletes_nothing_and_the_next_push_is_whole() {
    let between = Between::new();
    assert_eq!(between.push(between.s3.port).code, 0);
    let is_list = |asked: &Asked| asked.method == "GET" && asked.target.contains("list-type=2");
    let empty = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Name>bucket</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>\
                 </ListBucketResult>";
    let proxy = between.proxy(move |asked| {
        let is_of_snapshots = is_list(asked) && asked.target.contains("snapshots");
        if is_of_snapshots { Fault::Swapped(empty.as_bytes().to_vec()) } else { Fault::None }
    });
    let chsnap = with_keys(between.lab.chsnap());
    let condemned = document(&chsnap, &["remote", "gc", &address(proxy.port)], 0);
    assert!(condemned["condemned"]["objects"].as_u64().is_some_and(|objects| objects > 0), "{condemned}");
    let objects = between.s3.keys("bucket", "chsnap/objects/");
    // Times are in whole seconds: past that of the condemnation.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let collected = document(&chsnap, &["remote", "gc", &address(between.s3.port), "--grace", "0s"], 0);
    assert_eq!(collected["deleted"]["objects"], 0, "{collected}");
    assert_eq!(between.s3.keys("bucket", "chsnap/objects/"), objects);
    between.assert_taken_up();
}

/// Credentials that end while a snapshot is fetched or garbage collected: nothing half is left.
#[test]
fn credentials_that_end_in_a_pull_or_a_gc_leave_nothing_half() {
    let between = Between::new();
    assert_eq!(between.push(between.s3.port).code, 0);
    for after in [0, 2, 4] {
        let proxy =
            between.proxy(move |asked| if asked.number < after { Fault::None } else { s3_error(400, "ExpiredToken") });
        let clean = with_keys(between.lab.elsewhere("clean"));
        let pulled = clean.run(&["pull", "latest", "--from", &address(proxy.port)]);
        assert!(pulled.code == 1 && pulled.stderr.contains("ExpiredToken"), "{after}: {pulled:?}");
        assert_nothing_half(&clean);
        let proxy =
            between.proxy(move |asked| if asked.number < after { Fault::None } else { s3_error(400, "ExpiredToken") });
        let collected = with_keys(between.lab.chsnap()).run(&["remote", "gc", &address(proxy.port), "--grace", "0s"]);
        assert!(collected.code == 1 && collected.stderr.contains("ExpiredToken"), "{after}: {collected:?}");
    }
    between.assert_whole();
}

/// Two hosts send one object in the same moment: the service asks one of them to try again.
#[test]
fn a_conflict_with_another_host_is_tried_again() {
    let between = Between::new();
    let count = AtomicUsize::new(0);
    let proxy = between.proxy(move |asked| {
        if asked.method == "PUT" && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            s3_error(409, "ConditionalRequestConflict")
        } else {
            Fault::None
        }
    });
    let run = between.push(proxy.port);
    assert_eq!((run.code, between.committed()), (0, 1), "{}", run.stderr);
    between.assert_whole();
}

#[test]
fn a_store_that_stays_throttled_is_an_error_that_says_what_asks_less_of_it() {
    let between = Between::new();
    let proxy = between.proxy(|asked| if is_object(asked) { s3_error(503, "SlowDown") } else { Fault::None });
    let run = between.push(proxy.port);
    assert_eq!((run.code, between.committed()), (1, 0), "{}", run.stderr);
    assert!(run.stderr.contains("SlowDown") && run.stderr.contains("hint: --parallel"), "{}", run.stderr);
    between.assert_taken_up();
}
