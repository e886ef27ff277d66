//! Calls to the server of a repository on NFS, as its client counts them. `tests/nfs` runs this in its emulated machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::freezer::Freezer;
use testkit::nfs_calls::{Calls, difference};

/// The calls that were sent so far to the server of the mount that holds a folder.
#[track_caller]
fn calls(folder: &Path) -> Calls {
    testkit::nfs_calls::calls(folder).unwrap_or_else(|| panic!("no NFS mount holds {}", folder.display()))
}

/// All calls but those with which the client asks again for attributes that it no longer trusts, 3 s after it got them: how
/// many these are depends on how slow the machine is.
fn sum(calls: &Calls) -> i64 {
    calls.iter().filter(|(name, _)| *name != "GETATTR").map(|(_, count)| count).sum()
}

/// Parts of the two servers. What a part costs is the difference, in which everything else cancels out.
const FEW: i64 = 4;
const MANY: i64 = 20;

/// Calls for an unchanged part besides those of its files: two directories are entered, one is listed, one is made, and gets
/// its mode or owner, and its time.
const CALLS_OF_A_PART: i64 = 6;

/// A server with a number of parts, and a repository on NFS.
struct Lab {
    chsnap: Chsnap,
    _freezer: Freezer,
}

impl Lab {
    fn new(nfs: &Path, live: &Path, parts: i64) -> Self {
        let freezer = Freezer::start(&live.join(parts.to_string()));
        for part in 1..=parts {
            freezer.add_part("t", &format!("all_{part}_{part}_0"));
        }
        // What is this host's own stays on this host.
        let state = live.join(format!("{parts}.state")).display().to_string();
        let chsnap = Chsnap::new(&nfs.join(parts.to_string())).url(freezer.url()).env("XDG_STATE_HOME", &state);
        chsnap.expect(0, &["init"]);
        Self { chsnap, _freezer: freezer }
    }

    /// The calls during one `create`, and its files.
    fn create(&self) -> (Calls, i64) {
        let before = calls(self.chsnap.repo());
        let created: Value = self.chsnap.json(0, &["create"]);
        (difference(calls(self.chsnap.repo()), &before), created["files"].as_i64().expect("a number"))
    }
}

#[test]
#[ignore = "it needs an NFS mount: tests/nfs has two"]
fn nfs_calls_of_a_part_and_of_a_file_are_few() {
    let folder = |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} names no folder")));
    // The parts are on a local filesystem whose inode numbers last.
    let (nfs, live) = (folder("CHSNAP_NFS_FOLDER"), folder("CHSNAP_LIVE_FOLDER"));
    let (few, many) = (Lab::new(&nfs, &live, FEW), Lab::new(&nfs, &live, MANY));
    let parts = MANY - FEW;
    let night = |what: &str| {
        let ((base, few_files), (all, many_files)) = (few.create(), many.create());
        let files = many_files - few_files;
        let calls = difference(all, &base);
        eprintln!("calls: {what}: {} for {files} files of {parts} parts: {calls:?}", sum(&calls));
        eprintln!("calls: {what}: {} for {few_files} files of {FEW} parts and all else: {base:?}", sum(&base));
        (calls, files)
    };
    let (copied, files) = night("the first copy");
    std::thread::sleep(Duration::from_millis(3100));
    night("compared");
    std::thread::sleep(Duration::from_millis(3100));
    let (known, _) = night("known");
    assert_eq!(known.get("LINK").copied(), Some(files), "{known:?}");
    assert!(known.get("LOOKUP").is_none_or(|count| *count <= parts), "{known:?}");
    // With fs.protected_hardlinks, the kernel itself asks for the rights on each file before it links it.
    let is_protected = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() != "0");
    let asked_by_kernel = if is_protected { files } else { 0 };
    assert!(sum(&known) - files - asked_by_kernel <= CALLS_OF_A_PART * parts, "{known:?}");
    assert!(sum(&copied) <= 5 * files + 8 * parts, "{copied:?}");
}
