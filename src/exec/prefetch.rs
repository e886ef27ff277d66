//! Inspects a live part while it is being frozen, so that the frozen one need not be inspected.

use super::inspect::{AlreadyRead, CHECKSUMS, CHECKSUMS_LIMIT_BYTES, Inspected, inspect_known};
use super::left_out::belongs_in_a_copy;
use crate::fs::{Dir, Entry, EntryKind, FsError, Stat};

/// A part, inspected in its live directory.
///
/// The result holds for any other directory with the same files, that is, the same names with the same inodes. There is
/// none for a part with projections, with files of different owners or modes, or with any problem.
#[derive(Clone, Debug)]
pub(super) struct Prefetched {
    inspected: Inspected,
    files: blake3::Hash,
    /// The inode of its `checksums.txt`.
    witness: Stat,
}

/// The outcome of a prefetch.
#[derive(Debug)]
pub(super) enum Prefetch {
    /// The part was inspected.
    Ready(Box<Prefetched>),
    /// The part is not frozen yet, and its files will change: FREEZE takes the write bits from them.
    Pending,
    /// The part is of a kind that cannot be prefetched.
    Unsupported,
}

/// Any write bit.
const WRITABLE: u32 = 0o222;

impl Prefetched {
    /// Prefetches the live part in `dir`, of which `entries` is the listing and something is known already.
    ///
    /// # Errors
    /// If it cannot be read, or vanishes meanwhile.
    pub(super) fn prefetch(dir: &Dir, mut entries: Vec<Entry>, known: AlreadyRead<'_>) -> Result<Prefetch, FsError> {
        let (witness, checksums) = dir.read_with_stat(CHECKSUMS, CHECKSUMS_LIMIT_BYTES)?;
        if witness.ownership.mode & WRITABLE != 0 {
            return Ok(Prefetch::Pending);
        }
        entries.retain(belongs_in_a_copy);
        let Some(files) = files_in(&mut entries) else { return Ok(Prefetch::Unsupported) };
        let inspected = inspect_known(dir, entries, Some((witness, checksums)), known)?;
        let is_plain = inspected.exceptions.is_empty() && inspected.problems.is_empty();
        if !is_plain || inspected.fingerprint.is_none() {
            return Ok(Prefetch::Unsupported);
        }
        Ok(Prefetch::Ready(Box::new(Self { inspected, files, witness })))
    }

    /// Returns what an inspection of the frozen part in `dir`, whose listing is `entries`, would give, if it has the
    /// same files.
    ///
    /// # Errors
    /// If something cannot be read.
    pub(super) fn confirm(self, dir: &Dir, entries: &mut [Entry]) -> Result<Option<Inspected>, FsError> {
        if files_in(entries) != Some(self.files) {
            return Ok(None);
        }
        // A freeze takes the write bits from all files of a part; a part that was created again has a new
        // `checksums.txt`.
        let witness = dir.stat(CHECKSUMS)?;
        if lasting(&witness) != lasting(&self.witness) {
            return Ok(None);
        }
        let directory = dir.stat_self()?;
        Ok(Some(Inspected {
            directory: directory.ownership,
            directory_modified: directory.modified,
            directory_bytes: directory.allocated_bytes,
            ..self.inspected
        }))
    }
}

/// The fields of an inode that do not change when it gets a link.
fn lasting(stat: &Stat) -> Stat {
    Stat { links: 0, changed: (0, 0), ..*stat }
}

/// A hash over the names and inodes; `None` if not all entries are files. Sorts them.
fn files_in(entries: &mut [Entry]) -> Option<blake3::Hash> {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = blake3::Hasher::new();
    for Entry { name, inode, kind } in entries {
        if *kind != EntryKind::File {
            return None;
        }
        // No name has a zero byte, so the end of a name is unambiguous.
        hasher.update(name.as_encoded_bytes()).update(&[0]).update(&inode.to_le_bytes());
    }
    Some(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    use super::{AlreadyRead, Prefetch, Prefetched};
    use crate::exec::{Inspected, inspect_part};
    use crate::fs::{Dir, FsError, real};

    /// A whole part of a real server.
    const PART: &str = "src/checksums/fixtures/18.16-tiny";

    struct PrefetchLab {
        folder: tempfile::TempDir,
    }

    impl PrefetchLab {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let lab = Self { folder };
            fs::create_dir_all(lab.live()).expect("made");
            fs::create_dir_all(lab.frozen()).expect("made");
            for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(PART)).expect("a fixture") {
                let entry = entry.expect("an entry");
                fs::copy(entry.path(), lab.live().join(entry.file_name())).expect("copied");
            }
            fs::write(lab.live().join("txn_version.txt"), "not in a copy").expect("written");
            fs::read_dir(lab.live()).expect("the part").flatten().for_each(|entry| set_mode(&entry.path(), 0o440));
            lab
        }

        fn live(&self) -> PathBuf {
            self.folder.path().join("live/all_1_1_0")
        }

        fn frozen(&self) -> PathBuf {
            self.folder.path().join("frozen/all_1_1_0")
        }

        fn look(&self) -> Result<Prefetch, FsError> {
            let table = Dir::open(&self.folder.path().join("live"), real())?;
            let (part, entries) = table.open_and_list("all_1_1_0")?;
            Prefetched::prefetch(&part, entries, AlreadyRead::default())
        }

        fn prefetch(&self) -> Prefetched {
            match self.look() {
                Ok(Prefetch::Ready(prefetched)) => *prefetched,
                other => panic!("{other:?} of a plain part"),
            }
        }

        fn freeze(&self) {
            for entry in fs::read_dir(self.live()).expect("the part") {
                let entry = entry.expect("an entry");
                if entry.file_name() != "txn_version.txt" {
                    fs::hard_link(entry.path(), self.frozen().join(entry.file_name())).expect("linked");
                }
            }
        }

        fn confirm(&self, prefetched: Prefetched) -> Option<Inspected> {
            let table = Dir::open(&self.folder.path().join("frozen"), real()).expect("it is there");
            let (part, mut entries) = table.open_and_list("all_1_1_0").expect("it is listed");
            prefetched.confirm(&part, &mut entries).expect("it is read")
        }

        fn inspect(&self) -> Inspected {
            inspect_part(&Dir::open(&self.frozen(), real()).expect("it is there")).expect("it is read")
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of ours");
    }

    #[test]
    fn a_part_frozen_as_it_was_prefetched_equals_an_inspected_one() {
        let lab = PrefetchLab::new();
        let prefetched = lab.prefetch();
        lab.freeze();
        // This is another directory: its metadata is not what the prefetch saw.
        set_mode(&lab.frozen(), 0o710);
        let said = lab.confirm(prefetched).expect("it has the same files");
        assert_eq!(format!("{said:?}"), format!("{:?}", lab.inspect()));
        assert_eq!((said.directory.mode, said.files, said.problems.len()), (0o710, 12, 0));
        assert!(said.fingerprint.is_some());
    }

    type Change<'a> = &'a dyn Fn(&PrefetchLab);
    type Part<'a> = &'a dyn Fn(&Path);
    type Answer<'a> = &'a dyn Fn(&Result<Prefetch, FsError>) -> bool;

    #[test]
    fn any_other_file_in_the_frozen_part_has_it_inspected_again() {
        let again = |path: &Path| {
            let bytes = fs::read(path).expect("it is there");
            // The old inode stays, so that the new one has another number.
            fs::rename(path, path.with_extension("old")).expect("moved");
            fs::write(path, bytes).expect("written");
        };
        let changes: [(&str, Change<'_>); 7] = [
            ("a file more", &|lab| fs::write(lab.frozen().join("more.bin"), "x").expect("written")),
            ("a file less", &|lab| fs::remove_file(lab.frozen().join("k.bin")).expect("removed")),
            ("another name", &|lab| fs::rename(lab.frozen().join("k.bin"), lab.frozen().join("l.bin")).expect("moved")),
            ("a projection", &|lab| fs::create_dir(lab.frozen().join("p.proj")).expect("made")),
            ("another inode", &|lab| {
                again(&lab.frozen().join("k.bin"));
                fs::remove_file(lab.frozen().join("k.old")).expect("removed");
            }),
            ("another mode", &|lab| set_mode(&lab.live().join("checksums.txt"), 0o400)),
            ("another time", &|lab| {
                let file = fs::File::options().append(true).open(lab.live().join("checksums.txt")).expect("it opens");
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
            }),
        ];
        for (change, make) in changes {
            let lab = PrefetchLab::new();
            let prefetched = lab.prefetch();
            lab.freeze();
            make(&lab);
            assert!(lab.confirm(prefetched).is_none(), "{change}");
        }
    }

    #[test]
    fn a_part_that_is_not_plain_is_not_prefetched() {
        let never = |look: &Result<Prefetch, FsError>| matches!(look, Ok(Prefetch::Unsupported));
        let not_yet = |look: &Result<Prefetch, FsError>| matches!(look, Ok(Prefetch::Pending));
        let gone = |look: &Result<Prefetch, FsError>| look.is_err();
        let changes: [(&str, Part<'_>, Answer<'_>); 7] = [
            ("before its freeze", &|live| set_mode(&live.join("checksums.txt"), 0o640), &not_yet),
            ("in the middle of it", &|live| set_mode(&live.join("k.bin"), 0o640), &never),
            ("a projection", &|live| fs::create_dir(live.join("p.proj")).expect("made"), &never),
            ("a file is missing", &|live| fs::remove_file(live.join("k.bin")).expect("removed"), &never),
            (
                "a file is cut short",
                &|live| {
                    fs::remove_file(live.join("k.bin")).expect("removed");
                    fs::write(live.join("k.bin"), "x").expect("written");
                    set_mode(&live.join("k.bin"), 0o440);
                },
                &never,
            ),
            ("without checksums", &|live| fs::remove_file(live.join("checksums.txt")).expect("removed"), &gone),
            ("gone", &|live| fs::remove_dir_all(live).expect("removed"), &gone),
        ];
        for (change, make, is_expected) in changes {
            let lab = PrefetchLab::new();
            make(&lab.live());
            let look = lab.look();
            assert!(is_expected(&look), "{change}: {look:?}");
        }
    }
}
