//! Several servers' repositories on one filesystem, listed together.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::chsnap_command::Chsnap;
use crate::cli::support::{Lab, ids};

fn all(lab: &Lab, code: i32, directory: &Path) -> serde_json::Value {
    lab.chsnap().json(code, &["list", "--all", directory.to_str().expect("text")])
}

/// Two repositories with nights of their own beneath one directory.
fn export() -> (Lab, Lab, tempfile::TempDir, [Vec<String>; 2]) {
    let (one, of_one) = Lab::with_nights(2);
    let (two, of_two) = Lab::with_nights(3);
    let export = tempfile::tempdir().expect("an export");
    fs::create_dir_all(export.path().join("ch/two")).expect("a directory");
    fs::create_dir(export.path().join("empty")).expect("a directory");
    fs::rename(one.repo(), export.path().join("one")).expect("moved");
    fs::rename(two.repo(), export.path().join("ch/two/repo")).expect("moved");
    (one, two, export, [of_one, of_two])
}

#[test]
fn the_repositories_of_several_servers_are_listed_together() {
    let (lab, _two, export, [of_one, of_two]) = export();
    // What lies in a repository, and behind a symbolic link, is no repository of this directory.
    fs::create_dir(export.path().join("one/snapshots/inner")).expect("a directory");
    fs::write(export.path().join("one/snapshots/inner/chsnap.json"), "{}").expect("a file");
    symlink(export.path().join("one"), export.path().join("link")).expect("a link");
    let listed = all(&lab, 3, export.path());
    assert_eq!(listed["schema"], "chsnap.list.v2");
    let paths = ids(&listed["repositories"], "repository");
    let path = |name: &str| export.path().join(name).to_str().expect("text").to_owned();
    assert_eq!(paths, [path("ch/two/repo"), path("one")]);
    assert_eq!(ids(&listed["snapshots"], "id"), [of_two.clone(), of_one.clone()].concat());
    assert_eq!(listed["snapshots"][0]["repository"], paths[0].as_str());
    assert_eq!(listed["repositories"][1]["snapshot_count"], 2);
    assert_eq!(listed["repositories"][0]["written_bytes"], 3 * 8192);
    // What each takes is what `usage` says of it alone.
    let mut sums = [0; 2];
    for row in listed["repositories"].as_array().expect("rows") {
        let alone = Chsnap::new(Path::new(row["repository"].as_str().expect("a path"))).json(0, &["usage"]);
        for (sum, name) in sums.iter_mut().zip(["cost_bytes", "live_shared_bytes"]) {
            assert_eq!(row[name], alone["totals"][name], "{name}");
            *sum += row[name].as_u64().expect("bytes");
        }
    }
    assert_eq!(listed["totals"]["cost_bytes"], sums[0]);
    assert_eq!((&listed["totals"]["live_shared_bytes"], sums[1] > 0), (&sums[1].into(), true));
    fs::remove_dir_all(export.path().join("one/snapshots/inner")).expect("removed");
    assert_eq!(all(&lab, 0, export.path())["warnings"].as_array().map(Vec::len), Some(0));
    let text = lab.run(0, &["list", "--all", export.path().to_str().expect("text")]).stdout;
    for said in [&paths[0], &paths[1], &of_one[0], &of_two[2], "together: 5 snapshots, which cost "] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

#[test]
fn a_repository_that_cannot_be_read_is_named_and_keeps_no_other_from_being_listed() {
    let (lab, _two, export, [_, of_two]) = export();
    fs::write(export.path().join("one/chsnap.json"), "garbage").expect("a file");
    let listed = all(&lab, 3, export.path());
    assert_eq!(ids(&listed["snapshots"], "id"), of_two);
    assert_eq!(ids(&listed["repositories"], "state"), ["ok", "broken"]);
    let run = lab.run(3, &["list", "--all", export.path().to_str().expect("text")]);
    assert!(run.stderr.contains("one") && run.stderr.contains("cannot be read"), "{}", run.stderr);
}

#[test]
fn a_directory_without_repositories_lists_none_and_a_missing_one_is_an_error() {
    let lab = Lab::without_repository();
    assert_eq!(all(&lab, 0, lab.path())["repositories"].as_array().map(Vec::len), Some(0));
    lab.chsnap().json(1, &["list", "--all", "/does/not/exist"]);
}
