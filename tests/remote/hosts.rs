//! Two hosts and one store.

use crate::chsnap_command::Chsnap;
use crate::remote::support::{Lab, content, document, large_part, push};
use crate::store::Store;

/// Another host, whose table has the same bytes under another name.
fn other_host() -> Store {
    let host = Store::new();
    host.put("z", "all_5_5_0", &large_part(7, 8));
    host
}

/// Two snapshots of one second: a repository that has its own does not get another server's in its place.
#[test]
fn a_snapshot_of_another_server_never_takes_the_place_of_an_own_one() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    lab.push("latest");
    let other = other_host();
    assert_eq!(other.snapshot(), id, "both of one second");
    let there = Chsnap::new(&other.repo());
    let before = content(&other.at(id));
    let of = lab.host.open().id().short().to_owned();
    let run = there.run(&["pull", "latest", "--from", &lab.address(), "--of", &of]);
    assert!(run.code == 13 && run.stderr.contains("another snapshot of this id"), "{run:?}");
    assert_eq!(content(&other.at(id)), before);
    let listed = document(&there, &["list"], 0);
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn two_hosts_share_what_is_equal_and_have_snapshots_of_one_second_both() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    lab.push("latest");
    let other = other_host();
    // Both were begun in the same second, as those of two timers are.
    assert_eq!(other.snapshot(), id);
    let there = Chsnap::new(&other.repo());
    let pushed = push(&there, "latest", &lab.address());
    assert_eq!(pushed["snapshots"][0]["sent"]["objects"].as_u64(), Some(1), "the definitions alone: {pushed}");
    // Each host means its own; one that is new must say whose.
    for (chsnap, tables) in [(lab.chsnap(), 2), (there, 1)] {
        let checked = document(&chsnap, &["remote", "verify", &lab.address(), "latest", "--data"], 0);
        assert_eq!(checked["snapshots"].as_array().map(Vec::len), Some(1), "{checked}");
        let listed = document(&chsnap, &["remote", "list", &lab.address()], 0);
        let own = checked["snapshots"][0].as_str().expect("a name");
        let rows = listed["snapshots"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["remote_name"] == own).expect("it is listed");
        assert_eq!((rows.len(), row["tables"].as_u64()), (2, Some(tables)), "{listed}");
    }
    let clean = lab.elsewhere("clean");
    let run = clean.run(&["pull", "latest", "--from", &lab.address()]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("2 repositories") && run.stderr.contains("--of"), "{}", run.stderr);
    let of = other.open().id().short().to_owned();
    document(&clean, &["pull", "latest", "--from", &lab.address(), "--of", &of], 0);
    let pulled = clean.repo().join("snapshots").join(id.to_string());
    assert_eq!(content(&pulled), content(&other.at(id)));
}
