//! Records mutating calls as they are made on the real system, and the tree with which they began.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use chsnap::fs::{Mutations, VerbResult};
use chsnap::model::Ownership;
use rustix::fs::{AtFlags, Stat, fstat, statat};

/// An inode of the record; the root of the recorded tree is 0.
pub type Id = usize;

#[derive(Clone, Debug)]
pub struct Inode {
    pub body: Body,
    pub mode: u32,
    /// The modification time, if chsnap has set it.
    pub modified: Option<(i64, u32)>,
}

#[derive(Clone, Debug)]
pub enum Body {
    Directory(BTreeMap<OsString, Id>),
    File(Vec<u8>),
    Symlink(PathBuf),
    /// A durable file that nothing may change: a link in the vault keeps it, so that it is the same inode in every tree
    /// that is made from the record.
    Kept,
}

impl Body {
    pub fn directory() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

/// The effect of a call, including what it made durable.
#[derive(Clone, Debug)]
pub enum Change {
    Enter {
        dir: Id,
        name: OsString,
        inode: Id,
    },
    Leave {
        dir: Id,
        name: OsString,
        inode: Id,
    },
    Move {
        from: Id,
        from_name: OsString,
        to: Id,
        to_name: OsString,
        inode: Id,
    },
    Dress {
        inode: Id,
        mode: u32,
    },
    Date {
        inode: Id,
        modified: (i64, u32),
    },
    Write {
        file: Id,
        bytes: Vec<u8>,
    },
    Sync {
        inode: Id,
    },
    SyncAll,
    /// A sync that a test leaves out.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub change: Change,
    /// For display.
    pub text: String,
}

/// A tree, and the calls that have changed it since.
#[derive(Debug)]
pub struct Record {
    pub root: PathBuf,
    /// The directory of the kept files.
    pub vault: tempfile::TempDir,
    /// The inodes as they were when the record began; later ones are empty.
    pub inodes: Vec<Inode>,
    pub calls: Vec<Call>,
    known: HashMap<u64, Id>,
}

impl Record {
    /// Begins a record of the tree at `root`, which is completely on disk. Files below the paths `keep` are never
    /// changed.
    pub fn begin(root: &Path, keep: &[&str]) -> Self {
        let beside = root.parent().expect("a folder in a folder");
        let vault = tempfile::tempdir_in(beside).expect("a vault");
        let (root, inodes) = (root.to_owned(), Vec::new());
        let mut record = Self { root, vault, inodes, calls: Vec::new(), known: HashMap::new() };
        record.scan(Path::new(""), keep);
        record
    }

    fn scan(&mut self, path: &Path, keep: &[&str]) -> Id {
        let whole = self.root.join(path);
        let metadata = fs::symlink_metadata(&whole).expect("the tree does not change");
        if let Some(id) = self.known.get(&metadata.ino()) {
            return *id;
        }
        let id = self.add(metadata.ino(), metadata.mode(), Body::Kept);
        let body = if metadata.is_dir() {
            let names = fs::read_dir(&whole).expect("readable").map(|entry| entry.expect("an entry").file_name());
            Body::Directory(names.map(|name| (name.clone(), self.scan(&path.join(name), keep))).collect())
        } else if metadata.is_symlink() {
            Body::Symlink(fs::read_link(&whole).expect("a link"))
        } else if keep.iter().any(|kept| path.starts_with(kept)) {
            fs::hard_link(&whole, self.kept(id)).expect("linked");
            Body::Kept
        } else {
            Body::File(fs::read(&whole).expect("readable"))
        };
        self.inodes[id].body = body;
        id
    }

    fn add(&mut self, inode: u64, mode: u32, body: Body) -> Id {
        let id = self.inodes.len();
        self.inodes.push(Inode { body, mode: mode & 0o7777, modified: None });
        self.known.insert(inode, id);
        id
    }

    /// The path of a kept file.
    pub fn kept(&self, id: Id) -> PathBuf {
        self.vault.path().join(id.to_string())
    }

    /// Removes every sync whose text this function chooses, as if the program had not made it; returns how many there
    /// were.
    pub fn leave_out(&mut self, is_chosen: impl Fn(&str) -> bool) -> usize {
        let is_sync = |call: &&mut Call| matches!(call.change, Change::Sync { .. } | Change::SyncAll);
        let chosen = self.calls.iter_mut().filter(is_sync).filter(|call| is_chosen(&call.text));
        chosen.map(|call| call.change = Change::Nothing).count()
    }

    fn push(&mut self, change: Change, text: String) {
        self.calls.push(Call { change, text });
    }

    fn id(&self, inode: u64) -> Id {
        *self.known.get(&inode).expect("nothing is changed behind the recorder's back")
    }

    fn id_of(&self, fd: BorrowedFd<'_>) -> Id {
        self.id(fstat(fd).expect("an open file").st_ino)
    }

    fn path_of(&self, fd: BorrowedFd<'_>) -> PathBuf {
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("an open file");
        path.strip_prefix(&self.root).unwrap_or(&path).to_owned()
    }

    fn text(&self, verb: &str, dir: BorrowedFd<'_>, name: &OsStr) -> String {
        format!("{verb} {}", self.path_of(dir).join(name).display())
    }

    fn dates(&mut self, fd: BorrowedFd<'_>, modified: (i64, u32)) {
        let text = format!("utimens {}", self.path_of(fd).display());
        let inode = self.id_of(fd);
        self.push(Change::Date { inode, modified }, text);
    }

    /// Records a new name: of an inode that was just created, or of an existing one.
    fn enters(&mut self, verb: &str, dir: BorrowedFd<'_>, name: &OsStr, made: Option<Body>) {
        let stat = stat_at(dir, name).expect("it was just made");
        let inode = match made {
            Some(body) => self.add(stat.st_ino, stat.st_mode, body),
            None => self.id(stat.st_ino),
        };
        let text = self.text(verb, dir, name);
        self.push(Change::Enter { dir: self.id_of(dir), name: name.to_owned(), inode }, text);
    }

    /// Records that a name is gone. With the last name of an inode, its number becomes free for the next inode.
    fn leaves(&mut self, dir: BorrowedFd<'_>, name: &OsStr, was: &Stat) {
        let (inode, text) = (self.id(was.st_ino), self.text("unlink", dir, name));
        self.push(Change::Leave { dir: self.id_of(dir), name: name.to_owned(), inode }, text);
        self.forget(was);
    }

    fn forget(&mut self, was: &Stat) {
        if was.st_nlink == 1 || was.st_mode & 0o170_000 == 0o040_000 {
            self.known.remove(&was.st_ino);
        }
    }
}

fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult<Stat> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Mutations that are recorded if they succeed.
pub struct Recorder {
    record: Arc<Mutex<Record>>,
    verbs: Arc<dyn Mutations>,
}

impl Recorder {
    pub fn over(verbs: Arc<dyn Mutations>, record: &Arc<Mutex<Record>>) -> Arc<dyn Mutations> {
        Arc::new(Self { record: Arc::clone(record), verbs })
    }

    /// Held while the call is made, so that the record has the order in which the calls took effect.
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no thread panics with it")
    }
}

const NOT_RECORDED: &str = "the model of power cuts knows small files without holes, copied through this process";

impl Mutations for Recorder {
    fn create_dir(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult {
        let mut record = self.record();
        self.verbs.create_dir(dir, name, mode)?;
        record.enters("mkdir", dir, name, Some(Body::directory()));
        Ok(())
    }

    fn link(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        let mut record = self.record();
        self.verbs.link(from, from_name, to, to_name)?;
        record.enters("link", to, to_name, None);
        Ok(())
    }

    fn rename(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        let mut record = self.record();
        let replaced = stat_at(to, to_name);
        self.verbs.rename(from, from_name, to, to_name)?;
        let inode = record.id(stat_at(to, to_name)?.st_ino);
        if let Ok(replaced) = replaced {
            record.forget(&replaced);
        }
        let text =
            format!("{} -> {}", record.text("rename", from, from_name), record.path_of(to).join(to_name).display());
        let (from_name, to_name) = (from_name.to_owned(), to_name.to_owned());
        let (from, to) = (record.id_of(from), record.id_of(to));
        record.push(Change::Move { from, from_name, to, to_name, inode }, text);
        Ok(())
    }

    fn symlink(&self, target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let mut record = self.record();
        self.verbs.symlink(target, dir, name)?;
        record.enters("symlink", dir, name, Some(Body::Symlink(target.into())));
        Ok(())
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let mut record = self.record();
        let was = stat_at(dir, name);
        self.verbs.remove_file(dir, name)?;
        record.leaves(dir, name, &was?);
        Ok(())
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let mut record = self.record();
        let was = stat_at(dir, name);
        self.verbs.remove_dir(dir, name)?;
        record.leaves(dir, name, &was?);
        Ok(())
    }

    fn create_file(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        let mut record = self.record();
        let fd = self.verbs.create_file(dir, name, mode)?;
        record.enters("create", dir, name, Some(Body::File(Vec::new())));
        Ok(fd)
    }

    fn open_append(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        let mut record = self.record();
        let is_there = stat_at(dir, name).is_ok();
        let fd = self.verbs.open_append(dir, name, mode)?;
        if !is_there {
            record.enters("create", dir, name, Some(Body::File(Vec::new())));
        }
        Ok(fd)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> VerbResult<usize> {
        let mut record = self.record();
        let taken = self.verbs.write(file, bytes)?;
        let text = format!("write {taken} bytes to {}", record.path_of(file.as_fd()).display());
        let file = record.id_of(file.as_fd());
        record.push(Change::Write { file, bytes: bytes[..taken].to_owned() }, text);
        Ok(taken)
    }

    fn sync(&self, fd: BorrowedFd<'_>) -> VerbResult {
        let mut record = self.record();
        self.verbs.sync(fd)?;
        let text = format!("fsync {}", record.path_of(fd).display());
        let inode = record.id_of(fd);
        record.push(Change::Sync { inode }, text);
        Ok(())
    }

    fn sync_filesystem(&self, fd: BorrowedFd<'_>) -> VerbResult {
        let mut record = self.record();
        self.verbs.sync_filesystem(fd)?;
        let text = format!("syncfs of {}", record.path_of(fd).display());
        record.push(Change::SyncAll, text);
        Ok(())
    }

    fn set_ownership(&self, fd: BorrowedFd<'_>, ownership: Ownership) -> VerbResult {
        let mut record = self.record();
        self.verbs.set_ownership(fd, ownership)?;
        let text = format!("chmod {}", record.path_of(fd).display());
        let inode = record.id_of(fd);
        record.push(Change::Dress { inode, mode: ownership.mode & 0o7777 }, text);
        Ok(())
    }

    fn set_modified(&self, fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> VerbResult {
        let mut record = self.record();
        self.verbs.set_modified(fd, seconds, nanoseconds)?;
        record.dates(fd, (seconds, nanoseconds));
        Ok(())
    }

    fn set_owner(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> VerbResult {
        self.verbs.set_owner(fd, uid, gid)
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> VerbResult {
        let mut record = self.record();
        self.verbs.set_mode(fd, mode)?;
        let text = format!("chmod {}", record.path_of(fd).display());
        let inode = record.id_of(fd);
        record.push(Change::Dress { inode, mode: mode & 0o7777 }, text);
        Ok(())
    }

    fn set_times(&self, fd: BorrowedFd<'_>, accessed: (i64, u32), modified: (i64, u32)) -> VerbResult {
        let mut record = self.record();
        self.verbs.set_times(fd, accessed, modified)?;
        record.dates(fd, modified);
        Ok(())
    }

    fn set_xattr(&self, fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> VerbResult {
        self.verbs.set_xattr(fd, name, value)
    }

    fn remove_xattr(&self, fd: BorrowedFd<'_>, name: &CStr) -> VerbResult {
        self.verbs.remove_xattr(fd, name)
    }

    fn close(&self, fd: OwnedFd) -> VerbResult {
        self.verbs.close(fd)
    }

    // A call that is not recorded must not pass unnoticed. The probe tries a clone; here it must fail.
    fn clone_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> VerbResult {
        self.verbs.clone_file(from, to)?;
        panic!("{NOT_RECORDED}")
    }

    fn copy_range(&self, _: BorrowedFd<'_>, _: BorrowedFd<'_>, _: u64, _: usize) -> VerbResult<usize> {
        panic!("{NOT_RECORDED}")
    }

    fn write_at(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> VerbResult<usize> {
        let mut record = self.record();
        let size = fstat(fd).expect("an open file").st_size;
        assert_eq!(u64::try_from(size), Ok(offset), "{NOT_RECORDED}");
        let taken = self.verbs.write_at(fd, bytes, offset)?;
        let text = format!("write {taken} bytes to {}", record.path_of(fd).display());
        let file = record.id_of(fd);
        record.push(Change::Write { file, bytes: bytes[..taken].to_owned() }, text);
        Ok(taken)
    }

    fn allocate(&self, _: BorrowedFd<'_>, _: u64, _: u64) -> VerbResult {
        panic!("{NOT_RECORDED}")
    }

    fn set_size(&self, _: BorrowedFd<'_>, _: u64) -> VerbResult {
        panic!("{NOT_RECORDED}")
    }
}
