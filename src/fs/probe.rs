//! Determines which metadata a filesystem can hold by trying it on a scratch file.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::dir::{Dir, uninterrupted};
use super::error::{FsError, if_found};
use super::mutations::VerbResult;
use super::stat::stat_of_fd;

const SCRATCH: &str = ".chsnap-probe";
const SCRATCH_LINK: &str = ".chsnap-probe-link";
const SCRATCH_CLONE: &str = ".chsnap-probe-clone";

/// The metadata that a filesystem can preserve for a file copied to it by the user of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is the answer to a question of its own")]
pub struct CanKeep {
    /// The owner and group passed in, by number.
    pub owner: bool,
    /// Permission bits.
    pub mode: bool,
    /// Modification times to the nanosecond.
    pub nanoseconds: bool,
    /// Extended attributes of the namespace `user`.
    pub user_xattrs: bool,
    /// POSIX ACLs.
    pub acls: bool,
    /// Several links to one inode.
    pub hard_links: bool,
    /// Files that share blocks (`FICLONE`).
    pub clones: bool,
}

/// An ACL as `setxattr` takes it (`linux/posix_acl_xattr.h`): version 2, then entries of tag, permissions and id. It
/// lets the user with number 1 read, which no mode can express.
const ACL: [u8; 44] = [
    2, 0, 0, 0, // version
    1, 0, 6, 0, 255, 255, 255, 255, // the owner: rw-
    2, 0, 4, 0, 1, 0, 0, 0, // user 1: r--
    4, 0, 4, 0, 255, 255, 255, 255, // the group: r--
    16, 0, 4, 0, 255, 255, 255, 255, // mask: r--
    32, 0, 0, 0, 255, 255, 255, 255, // others: ---
];
/// 2001-09-09, with nanoseconds that a coarser clock cannot represent.
const TIME: (i64, u32) = (1_000_000_000, 123_456_789);
const MODE: u32 = 0o751;

/// Determines what the filesystem under `dir` can preserve, including files of the owner and group `(uid, gid)`. It
/// creates a few files whose names begin with `.chsnap-probe`, and removes them.
///
/// # Errors
/// If a file cannot be created, written or removed. A refusal of anything else is an answer.
pub fn can_keep(dir: &Dir, owner: (u32, u32)) -> Result<CanKeep, FsError> {
    remove_scratch(dir)?;
    let answer = ask(dir, owner);
    let removed = remove_scratch(dir);
    let answer = answer?;
    removed?;
    Ok(answer)
}

/// Also removes files that an earlier, killed probe left.
fn remove_scratch(dir: &Dir) -> Result<(), FsError> {
    for name in [SCRATCH, SCRATCH_LINK, SCRATCH_CLONE] {
        if_found(dir.remove_file(name))?;
    }
    Ok(())
}

fn ask(dir: &Dir, (uid, gid): (u32, u32)) -> Result<CanKeep, FsError> {
    let verbs = &*dir.verbs;
    let create = |name: &'static str| {
        uninterrupted(|| verbs.create_file(dir.fd(), OsStr::new(name), 0o600))
            .map_err(|errno| FsError::new("create", &dir.path().join(name), errno))
    };
    let scratch = create(SCRATCH)?;
    let fd = scratch.as_fd();
    uninterrupted(|| verbs.write_at(fd, &[1; 4096], 0)).map_err(dir.error("write", OsStr::new(SCRATCH)))?;

    let keeps = |set: &dyn Fn() -> VerbResult, is_kept: &dyn Fn() -> Result<bool, Errno>| {
        uninterrupted(set).and_then(|()| is_kept()).unwrap_or(false)
    };
    let acls = keeps(&|| verbs.set_xattr(fd, c"system.posix_acl_access", &ACL), &|| {
        has_xattr(fd, c"system.posix_acl_access", &ACL)
    });
    let user_xattrs =
        keeps(&|| verbs.set_xattr(fd, c"user.chsnap.probe", b"kept"), &|| has_xattr(fd, c"user.chsnap.probe", b"kept"));
    let mode = keeps(&|| verbs.set_mode(fd, MODE), &|| Ok(stat_of_fd(fd)?.ownership.mode == MODE));
    let nanoseconds = keeps(&|| verbs.set_times(fd, TIME, TIME), &|| Ok(stat_of_fd(fd)?.modified == TIME));
    let hard_links = keeps(&|| verbs.link(dir.fd(), OsStr::new(SCRATCH), dir.fd(), OsStr::new(SCRATCH_LINK)), &|| {
        Ok(stat_of_fd(fd)?.links == 2)
    });
    let clone = create(SCRATCH_CLONE)?;
    let (_, source) = dir.open_regular(OsStr::new(SCRATCH))?;
    let clones = keeps(&|| verbs.clone_file(source.as_fd(), clone.as_fd()), &|| Ok(true));
    // Comes last: without special rights, nothing more can be done to a file that belongs to another user.
    let owner = keeps(&|| verbs.set_owner(fd, uid, gid), &|| {
        let found = stat_of_fd(fd)?.ownership;
        Ok((found.uid, found.gid) == (uid, gid))
    });
    Ok(CanKeep { owner, mode, nanoseconds, user_xattrs, acls, hard_links, clones })
}

fn has_xattr(fd: BorrowedFd<'_>, name: &std::ffi::CStr, value: &[u8]) -> Result<bool, Errno> {
    let mut room = [0; 64];
    let bytes = rustix::fs::fgetxattr(fd, name, room.as_mut_slice())?;
    Ok(room.get(..bytes) == Some(value))
}
