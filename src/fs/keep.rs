//! Copies owner, group, mode, times and extended attributes of one inode to its copy, and reads them back.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use super::dir::{Dir, uninterrupted};
use super::error::FsError;
use super::mutations::{Mutations, VerbResult};
use super::stat::{Stat, stat_of_fd, stat_with_access};

/// A piece of an inode's metadata that its copy does not have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LostMetadata {
    /// Owner or group, by number.
    Owner,
    /// Permission bits, including the set-user-id, set-group-id and sticky bits.
    Mode,
    /// The time of the last modification, in nanoseconds.
    Time,
    /// This extended attribute; POSIX ACLs are `system.posix_acl_access` and `system.posix_acl_default`.
    Xattr(String),
}

impl LostMetadata {
    /// Whether the copy lacks metadata of the file itself. Labels of a security policy, and ACLs specific to a
    /// filesystem, depend on the location of a file.
    #[must_use]
    pub fn is_of_the_file(&self) -> bool {
        match self {
            Self::Owner | Self::Mode | Self::Time => true,
            Self::Xattr(name) => is_of_the_file(name),
        }
    }
}

/// Whether an attribute belongs to the file itself. `security.selinux` and the like do not, nor does `system.nfs4_acl`,
/// which every file on NFS has.
fn is_of_the_file(name: &str) -> bool {
    let with_files = ["user.", "trusted.", "system.posix_acl_"];
    with_files.iter().any(|prefix| name.starts_with(prefix)) || name == "security.capability"
}

impl fmt::Display for LostMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Mode => f.write_str("mode"),
            Self::Time => f.write_str("modification time"),
            Self::Xattr(name) => write!(f, "attribute {name}"),
        }
    }
}

/// An open inode, and its path for messages.
#[derive(Clone, Copy)]
pub(super) struct OpenInode<'a> {
    pub fd: BorrowedFd<'a>,
    pub path: &'a Path,
}

impl OpenInode<'_> {
    pub(super) fn error(&self, verb: &'static str) -> impl Fn(Errno) -> FsError + '_ {
        move |errno| FsError::new(verb, self.path, errno)
    }
}

/// A new file or directory can inherit these from its directory. All others come from the source alone, or from the
/// target's own policy, which chsnap must not undo.
const INHERITED: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];

/// Whether this error means that the system cannot or may not preserve something. Reading back shows the result.
fn is_refusal(errno: Errno) -> bool {
    // EOVERFLOW: ids that the target's user namespace or mount does not map.
    let of_all = [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::OVERFLOW];
    of_all.contains(&errno)
}

/// The same for attributes, which can also be too large for the target; ext4 reports that as a lack of space.
fn is_refusal_of_attribute(errno: Errno) -> bool {
    is_refusal(errno) || [Errno::NOSPC, Errno::TOOBIG, Errno::RANGE, Errno::NODATA].contains(&errno)
}

fn attempted(result: VerbResult, is_refusal: fn(Errno) -> bool) -> VerbResult {
    match result {
        Err(errno) if is_refusal(errno) => Ok(()),
        result => result,
    }
}

/// Attributes that an NFS 4 client lists for every file: the server's representation of owner, mode and ACL
/// (`nfs4_acl(5)`). No file has them by itself, and no other filesystem takes them; mode and owner are compared
/// directly.
const WORDS_OF_NFS: [&CStr; 3] = [c"system.nfs4_acl", c"system.nfs4_dacl", c"system.nfs4_sacl"];

/// The names of all extended attributes that belong to the file itself; empty if the filesystem has no attributes.
fn xattr_names(side: OpenInode<'_>) -> Result<Vec<CString>, FsError> {
    let mut buffer = vec![0_u8; 1024];
    let bytes = loop {
        match uninterrupted(|| rustix::fs::flistxattr(side.fd, buffer.as_mut_slice())) {
            Ok(bytes) => break bytes,
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break 0,
            Err(errno) => return Err(side.error("list the attributes of")(errno)),
        }
    };
    let names = buffer.get(..bytes).unwrap_or_default().split_inclusive(|byte| *byte == 0);
    let names = names.filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    Ok(names.filter(|name| !WORDS_OF_NFS.contains(name)).map(CStr::to_owned).collect())
}

/// The value of one attribute, if it is there and may be read.
fn xattr(side: OpenInode<'_>, name: &CStr) -> Result<Option<Vec<u8>>, FsError> {
    let mut buffer = vec![0_u8; 1024];
    loop {
        match uninterrupted(|| rustix::fs::fgetxattr(side.fd, name, buffer.as_mut_slice())) {
            Ok(bytes) => {
                buffer.truncate(bytes);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(side.error("read an attribute of")(errno)),
        }
    }
}

/// An attribute of the source; `None` if it is listed there but may not be read.
type Attribute = (CString, Option<Vec<u8>>);

/// The attributes in the order in which they can be set: an ACL can revoke the right to set others.
fn attributes(source: OpenInode<'_>) -> Result<Vec<Attribute>, FsError> {
    let mut names = xattr_names(source)?;
    names.sort_by_cached_key(|name| (INHERITED.contains(&name.as_c_str()), name.clone()));
    names.into_iter().map(|name| xattr(source, &name).map(|value| (name, value))).collect()
}

fn named(side: OpenInode<'_>) -> Result<Xattrs, FsError> {
    let named = attributes(side)?.into_iter();
    let mut named: Xattrs = named.map(|(name, value)| (name.to_string_lossy().into_owned(), value)).collect();
    named.retain(|(name, _)| is_of_the_file(name));
    named.sort_unstable();
    Ok(named)
}

/// The permission bit of an owner who may write.
const OWNER_WRITES: u32 = 0o200;

/// Whether a new inode may have an ACL that its source does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AclInheritance {
    /// Its directory has a default ACL, or that is not known.
    Possible,
    /// Its directory has none.
    None,
}

impl AclInheritance {
    /// The attributes that new files of this directory inherit.
    fn of(dir: &Dir) -> Self {
        let dir = OpenInode { fd: dir.fd(), path: dir.path() };
        match xattr(dir, c"system.posix_acl_default") {
            Ok(None) => Self::None,
            _ => Self::Possible,
        }
    }
}

/// A directory that files are copied into, with what is known of all its new files.
#[derive(Clone, Copy, Debug)]
pub struct FileTarget<'a> {
    pub(super) dir: &'a Dir,
    pub(super) inheritance: AclInheritance,
    /// Whether no other user can reach its entries, so that a new file may have its final mode from the beginning.
    pub(super) is_private: bool,
}

impl<'a> FileTarget<'a> {
    /// Asks the directory, which must stay as it is while files are copied into it.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn new(dir: &'a Dir) -> Result<Self, FsError> {
        let is_private = dir.stat_self()?.ownership.mode & OTHERS == 0;
        Ok(Self { dir, inheritance: AclInheritance::of(dir), is_private })
    }
}

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Gives `target`, which chsnap has created, all metadata of `source`, as `stat` and `accessed` describe it and with
/// its present attributes; then reads it back. Returns the result, and everything that is missing from it, in order.
///
/// # Errors
/// If the filesystem fails; a refusal is not a failure.
pub(super) fn keep(
    verbs: &dyn Mutations,
    source: OpenInode<'_>,
    (stat, accessed): (&Stat, (i64, u32)),
    (target, inheritance): (OpenInode<'_>, AclInheritance),
) -> Result<(Stat, Vec<LostMetadata>), FsError> {
    let attributes = attributes(source)?;
    let mut now = stat_of_fd(target.fd).map_err(target.error("stat"))?;
    let wanted = stat.ownership;
    // The order matters: a change of owner clears the set-user-id bits and file capabilities, an ACL changes the group
    // bits, a mode without write permission keeps an owner from setting attributes, and all of these may change the
    // times.
    if (now.ownership.uid, now.ownership.gid) != (wanted.uid, wanted.gid) {
        let result = uninterrupted(|| verbs.set_owner(target.fd, wanted.uid, wanted.gid));
        attempted(result, is_refusal).map_err(target.error("set the owner of"))?;
        now = stat_of_fd(target.fd).map_err(target.error("stat"))?;
    }
    let set_mode = |mode: u32| {
        let result = uninterrupted(|| verbs.set_mode(target.fd, mode));
        attempted(result, is_refusal).map_err(target.error("set the mode of"))
    };
    let is_writable = now.ownership.mode & OWNER_WRITES != 0;
    if !attributes.is_empty() && !is_writable {
        set_mode(now.ownership.mode | OWNER_WRITES)?;
    }
    let has_none = attributes.is_empty() && inheritance == AclInheritance::None;
    let had_inherited = if has_none { false } else { give_attributes(verbs, &attributes, target)? };
    // An attribute may have changed the mode.
    if now.ownership.mode != wanted.mode || !attributes.is_empty() || had_inherited {
        set_mode(wanted.mode)?;
    }
    attempted(uninterrupted(|| verbs.set_times(target.fd, accessed, stat.modified)), is_refusal)
        .map_err(target.error("set the times of"))?;
    let found = stat_of_fd(target.fd).map_err(target.error("stat"))?;
    let mut unkept = compare(stat, &found);
    read_attributes_back(&attributes, had_inherited, target, &mut unkept)?;
    Ok((found, unkept))
}

/// The names of the attributes that the target has inherited and its source does not have.
fn inherited(attributes: &[Attribute], target: OpenInode<'_>) -> Result<Vec<CString>, FsError> {
    let mut names = xattr_names(target)?;
    names.retain(|name| INHERITED.contains(&name.as_c_str()) && !attributes.iter().any(|(wanted, _)| wanted == name));
    Ok(names)
}

/// Sets the attributes; returns whether the target had inherited any that its source does not have.
fn give_attributes(verbs: &dyn Mutations, attributes: &[Attribute], target: OpenInode<'_>) -> Result<bool, FsError> {
    let inherited = inherited(attributes, target)?;
    for name in &inherited {
        let result = uninterrupted(|| verbs.remove_xattr(target.fd, name));
        attempted(result, is_refusal_of_attribute).map_err(target.error("remove an attribute of"))?;
    }
    for (name, value) in attributes {
        let Some(value) = value else { continue };
        let result = uninterrupted(|| verbs.set_xattr(target.fd, name, value));
        attempted(result, is_refusal_of_attribute).map_err(target.error("set an attribute of"))?;
    }
    Ok(!inherited.is_empty())
}

fn compare(wanted: &Stat, found: &Stat) -> Vec<LostMetadata> {
    let mut unkept = Vec::new();
    if (found.ownership.uid, found.ownership.gid) != (wanted.ownership.uid, wanted.ownership.gid) {
        unkept.push(LostMetadata::Owner);
    }
    if found.ownership.mode != wanted.ownership.mode {
        unkept.push(LostMetadata::Mode);
    }
    if found.modified != wanted.modified {
        unkept.push(LostMetadata::Time);
    }
    unkept
}

fn read_attributes_back(
    attributes: &[Attribute],
    had_inherited: bool,
    target: OpenInode<'_>,
    unkept: &mut Vec<LostMetadata>,
) -> Result<(), FsError> {
    for (name, value) in attributes {
        if value.is_none() || xattr(target, name)? != *value {
            unkept.push(LostMetadata::Xattr(name.to_string_lossy().into_owned()));
        }
    }
    if had_inherited {
        let stays = inherited(attributes, target)?.into_iter();
        unkept.extend(stays.map(|name| LostMetadata::Xattr(name.to_string_lossy().into_owned())));
    }
    Ok(())
}

/// Extended attributes by name, including POSIX ACLs, that belong to the file itself. Attributes that depend on its
/// place, such as the label of a security policy, are left out. `None` stands for a value that may not be read.
pub type Xattrs = Vec<(String, Option<Vec<u8>>)>;

impl Dir {
    /// The extended attributes of the regular file at `name`, in the order of their names.
    ///
    /// # Errors
    /// If it is not a regular file, or its attributes cannot be listed.
    pub fn xattrs_of(&self, name: impl AsRef<OsStr>) -> Result<Xattrs, FsError> {
        let name = name.as_ref();
        let (_, file) = self.open_regular(name)?;
        let path = self.path().join(name);
        named(OpenInode { fd: file.as_fd(), path: &path })
    }

    /// The extended attributes of this directory.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn own_xattrs(&self) -> Result<Xattrs, FsError> {
        named(OpenInode { fd: self.fd(), path: self.path() })
    }

    /// Gives this directory, which chsnap has created, owner, group, mode, times and extended attributes of `source`,
    /// and reads them back. This must come last: every new entry changes the modification time, and may inherit an ACL.
    ///
    /// # Errors
    /// If the filesystem fails. Metadata that could not be preserved is in the answer.
    pub fn keep_metadata_of(&self, source: &Self) -> Result<Vec<LostMetadata>, FsError> {
        let from = OpenInode { fd: source.fd(), path: source.path() };
        let (stat, accessed) = stat_with_access(from.fd).map_err(from.error("stat"))?;
        let to = OpenInode { fd: self.fd(), path: self.path() };
        keep(&*self.verbs, from, (&stat, accessed), (to, AclInheritance::Possible)).map(|(_, unkept)| unkept)
    }
}
