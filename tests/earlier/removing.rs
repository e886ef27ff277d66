//! Removing snapshots from these repositories, and bringing them back.

use serde_json::json;

use crate::earlier::fixture::{ALL, Unpacked, owns_files};

#[test]
fn prune_keeps_their_pin_and_frees_what_it_says() {
    if !owns_files() {
        return;
    }
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let [first, second] = unpacked.ids();
        let plan = unpacked.json(0, &["prune", "--keep-last", "1", "--dry-run"]);
        assert_eq!((&plan["state"], &plan["remove"], &plan["warnings"]), (&json!("dry_run"), &json!([]), &json!([])));
        let reasons: Vec<_> = plan["keep"].as_array().expect("rows").iter().map(|row| &row["reasons"][0]).collect();
        assert_eq!(reasons, ["last 1/1", "pinned: kept as it is"]);
        unpacked.json(0, &["unpin", first]);
        let freed = unpacked.json(0, &["usage", "--freed", first])["freed"]["freed_bytes"].clone();
        let plan = unpacked.json(0, &["prune", "--keep-last", "1", "--yes"]);
        assert_eq!((&plan["state"], &plan["remove"][0]["id"]), (&json!("pruned"), &json!(first)));
        assert_eq!(plan["freed_bytes"], freed);
        assert_eq!(unpacked.json(0, &["list"])["removed"], json!([first, unpacked.facts.removed]));
        let emptied = unpacked.json(0, &["gc"]);
        assert_eq!((&emptied["removed"], &emptied["warnings"]), (&json!([first, unpacked.facts.removed]), &json!([])));
        let left = unpacked.json(0, &["list"]);
        assert_eq!((&left["snapshots"][0]["id"], &left["removed"]), (&json!(second), &json!([])));
        assert_eq!(left["snapshots"].as_array().map(Vec::len), Some(1));
        assert_eq!(unpacked.json(0, &["verify"])["state"], "sound", "what the removed ones shared is still there");
    }
}

#[test]
fn undo_brings_back_the_last_removal_and_then_the_earlier_one() {
    if !owns_files() {
        return;
    }
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let [first, second] = unpacked.ids();
        let removed = unpacked.facts.removed;
        assert_eq!(unpacked.json(13, &["rm", first])["state"], "refused", "it is pinned");
        assert_eq!(unpacked.json(0, &["rm", second])["removed"], json!([second]));
        let undone = unpacked.json(0, &["undo"]);
        assert_eq!((&undone["restored"], &undone["remaining"]), (&json!([second]), &json!([removed])));
        assert_eq!(unpacked.json(0, &["undo"])["restored"], json!([removed]));
        let listed = unpacked.json(0, &["list"]);
        let ids: Vec<_> = listed["snapshots"].as_array().expect("rows").iter().map(|row| &row["id"]).collect();
        assert_eq!(ids, [first, second, removed]);
        assert_eq!((&listed["removed"], &listed["snapshots"][2]["name"]), (&json!([]), &json!("removed")));
        assert_eq!(unpacked.json(0, &["verify"])["state"], "sound");
        assert_eq!(unpacked.json(0, &["diff", second, removed])["added"]["parts"], 0);
    }
}
