//! `usage` as a person and a script see it.

use std::fs;

use crate::chsnap_command::Chsnap;
use crate::hoard::{Hoard, Numbers};

fn lab(nights: usize) -> (tempfile::TempDir, Hoard, Chsnap) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hoard = Hoard::new(folder.path());
    let mut numbers = Numbers(11);
    for _ in 0..nights {
        (0..8).for_each(|_| drop(hoard.step(&mut numbers)));
        hoard.snapshot();
    }
    let chsnap = Chsnap::new(&hoard.repo());
    (folder, hoard, chsnap)
}

#[test]
fn show_it() {
    let (_folder, mut hoard, chsnap) = lab(5);
    println!("{}", chsnap.expect(0, &["usage"]).stdout);
    hoard.drop_everything();
    hoard.rm(&hoard.ids()[..1]);
    fs::create_dir_all(hoard.shadow().join("1/data/d")).expect("made");
    fs::write(hoard.shadow().join("1/data/d/x"), [1; 10000]).expect("written");
    println!("{}", chsnap.expect(0, &["usage", "--freed", "..latest~2"]).stdout);
    println!("{}", chsnap.expect(0, &["usage", "--by", "partition"]).stdout);
    println!("{}", chsnap.expect(0, &["usage", "--by", "table"]).stdout);
    println!("{:#}", chsnap.json(0, &["usage", "--exact", "latest"]));
}
