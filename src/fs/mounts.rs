//! The mount under a directory. Source of the formats: `proc_pid_mountinfo(5)`, `proc_pid_fdinfo(5)`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::error::FsError;
use super::process::{CAP_FOWNER, has_capability, user_id};

/// A mount of this process's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number: two directories of one mount have the same.
    pub id: u64,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The directory of its filesystem that is mounted: not `/` for a bind mount.
    pub root: PathBuf,
    /// The filesystem's type.
    pub filesystem: String,
    /// The mounted device or export.
    pub source: String,
    /// The options of the mount and of its filesystem.
    pub options: Vec<String>,
}

/// The mount in which `dir` lies; `None` if `/proc` does not show it.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn mount_of(dir: &Dir) -> Result<Option<Mount>, FsError> {
    let fdinfo = PathBuf::from(format!("/proc/self/fdinfo/{}", dir.fd().as_raw_fd()));
    let text = fs::read_to_string(&fdinfo).map_err(|error| FsError::new("read", &fdinfo, error))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
    let mountinfo = PathBuf::from("/proc/self/mountinfo");
    let text = fs::read(&mountinfo).map_err(|error| FsError::new("read", &mountinfo, error))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).find(|mount| Some(mount.id) == id))
}

/// Whether files of one directory can be linked into the other, judging by their mounts: both must be reached through
/// one mount.
///
/// # Errors
/// If `/proc` or a directory cannot be read.
pub fn are_on_one_mount(one: &Dir, other: &Dir) -> Result<bool, FsError> {
    Ok(match (mount_of(one)?, mount_of(other)?) {
        (Some(one), Some(other)) => one.id == other.id,
        _ => one.stat_self()?.device == other.stat_self()?.device,
    })
}

/// Judges without a write whether a file can be linked into a directory.
///
/// It returns the error that the link would give between two mounts, between two filesystems or subvolumes of one
/// mount, and of a file to which the kernel grants no link (`protected_hardlinks` in `proc_sys_fs(5)`). A link can fail
/// for other reasons.
///
/// # Errors
/// If the link would fail for one of these reasons; if `/proc` or a directory cannot be read.
pub fn foresee_link(from: &Dir, name: impl AsRef<OsStr>, to: &Dir) -> Result<(), FsError> {
    let name = name.as_ref();
    let refused = |errno| Err(FsError::between("link", &from.path().join(name), to.path(), errno));
    if !are_on_one_mount(from, to)? || from.stat_self()?.device != to.stat_self()?.device {
        return refused(Errno::XDEV);
    }
    if may_link_foreign_files() || from.find(name)?.is_none_or(|stat| stat.ownership.uid == user_id()) {
        return Ok(());
    }
    match rustix::fs::accessat(from.fd(), name, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => refused(Errno::PERM),
        _ => Ok(()),
    }
}

/// Whether links to files of other users need no right to write them.
fn may_link_foreign_files() -> bool {
    let is_off = fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "0");
    is_off || has_capability(CAP_FOWNER)
}

/// Whether files of the two directories may share blocks (`FICLONE`), judging by their filesystems: false if it is
/// certain that they cannot.
///
/// # Errors
/// If `/proc` or a directory cannot be read.
pub fn may_share_blocks(one: &Dir, other: &Dir) -> Result<bool, FsError> {
    let (Some(one_mount), Some(other_mount)) = (mount_of(one)?, mount_of(other)?) else { return Ok(true) };
    if WITHOUT_CLONES.contains(&other_mount.filesystem.as_str()) {
        return Ok(false);
    }
    // Datasets of one ZFS pool share blocks, and so do subvolumes of one device.
    let pool = |mount: &Mount| match mount.filesystem.as_str() {
        "zfs" => mount.source.split('/').next().unwrap_or_default().to_owned(),
        _ => mount.source.clone(),
    };
    let same_source = one_mount.filesystem == other_mount.filesystem && pool(&one_mount) == pool(&other_mount);
    Ok(same_source || one.stat_self()?.device == other.stat_self()?.device)
}

/// Filesystems on which files never share blocks.
const WITHOUT_CLONES: [&str; 8] = ["ext2", "ext3", "ext4", "tmpfs", "f2fs", "jfs", "vfat", "exfat"];

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let id = text(fields.next()?).parse().ok()?;
    let root = path(fields.nth(2)?);
    let point = path(fields.next()?);
    let own = text(fields.next()?);
    // Optional fields precede a dash.
    fields.by_ref().find(|field| *field == b"-")?;
    let (filesystem, source) = (text(fields.next()?), text(fields.next()?));
    let of_filesystem = text(fields.next()?);
    let options = own.split(',').chain(of_filesystem.split(',')).map(str::to_owned).collect();
    Some(Mount { id, point, root, filesystem, source, options })
}

/// Decodes a path in which spaces, tabs, newlines and backslashes are written as a backslash and three octal digits.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{mount_of, parse};
    use crate::fs::{Dir, real};

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_optional_fields_and_escapes() {
        let line = br"36 35 98:0 /mnt1 /a\040b\134c rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue";
        let mount = parse(line).expect("a line of the manual");
        assert_eq!((mount.id, mount.point, mount.root), (36, PathBuf::from(r"/a b\c"), PathBuf::from("/mnt1")));
        assert_eq!((mount.filesystem.as_str(), mount.source.as_str()), ("ext4", "/dev/root"));
        assert_eq!(mount.options, ["rw", "noatime", "rw", "errors=continue"]);
        assert_eq!(parse(b"garbage"), None);
    }

    #[test]
    fn proc_is_on_a_mount_of_its_own() {
        let proc = Dir::open("/proc".as_ref(), real()).expect("it is there");
        let mount = mount_of(&proc).expect("it is readable").expect("it is mounted");
        assert_eq!((mount.point, mount.filesystem.as_str()), (PathBuf::from("/proc"), "proc"));
    }
}
