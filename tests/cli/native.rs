//! Trees for ClickHouse's own RESTORE, of parts that no engine here writes.

use std::fs;

use chsnap::checksums::hash_bytes;
use testkit::store::{bytes, part_of};

use crate::chsnap_command::Chsnap;
use crate::freezer::Freezer;

/// What `.backup` says of a file: its size, and its hash in the form of the list.
fn listed(text: &str, name: &str) -> (String, String) {
    let entry = text.split("<file>").find(|entry| entry.contains(&format!("/{name}</name>")));
    let entry = entry.unwrap_or_else(|| panic!("no {name} in {text}"));
    let field = |field: &str| {
        let (_, rest) = entry.split_once(&format!("<{field}>")).expect("a field");
        rest.split_once('<').expect("its end").0.to_owned()
    };
    (field("size"), field("checksum"))
}

/// Files of an inverted index of the old kind have a wrong size and hash in `checksums.txt`, by design: RESTORE, which finds
/// files by size and hash, gets those of their bytes.
#[test]
fn files_of_an_inverted_index_are_listed_as_they_are_and_not_as_checksums_txt_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = Freezer::start(&folder.path().join("ch"));
    freezer.add_part("one", "all_1_1_0");
    let dir = folder.path().join("ch/data/d/one/all_1_1_0");
    let index = ["skp_idx_i.gin_sid", "skp_idx_i.gin_seg", "skp_idx_i.gin_dict", "skp_idx_i.gin_post"];
    // A column whose name looks like one, and a file that `checksums.txt` does not cover.
    let names = index.into_iter().chain(["k.bin", "gin_dict.bin"]);
    let part = part_of(names.zip(1..).map(|(name, seed)| (name.to_owned(), bytes(seed, 100))).collect());
    for entry in fs::read_dir(&dir).expect("a part") {
        fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    for (name, content) in &part {
        fs::write(dir.join(name), content).expect("written");
    }
    let changed: Vec<(&str, Vec<u8>)> = index
        .into_iter()
        .zip(50..)
        .map(|(name, seed)| (name, bytes(seed, 70 + usize::try_from(seed).expect("small"))))
        .collect();
    for (name, content) in &changed {
        fs::write(dir.join(name), content).expect("other bytes");
    }
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let created = chsnap.json(0, &["create"]);
    assert_eq!(created["parts"], 1, "{created:#}");
    for (place, mode) in [("links", "auto"), ("copies", "copy")] {
        let to = folder.path().join(place);
        let report =
            chsnap.json(0, &["restore", "latest", "--to", to.to_str().expect("text"), "--native", "--place", mode]);
        // Those, and the two that `checksums.txt` does not cover: itself and `columns.txt`.
        assert_eq!(report["native"]["hashed_files"], 6, "{report:#}");
        let list = fs::read_to_string(to.join(".backup")).expect("a list");
        let hash = |content: &[u8]| format!("{:032x}", u128::from_le_bytes(hash_bytes(content).to_bytes()));
        for (name, content) in &changed {
            assert_eq!(listed(&list, name), (content.len().to_string(), hash(content)), "{name}");
        }
        for name in ["k.bin", "gin_dict.bin"] {
            assert_eq!(listed(&list, name), ("100".to_owned(), hash(&part[name])), "{name}");
        }
    }
}
