//! Determines who may change a file on which decisions depend.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// Another user than root and this process's user may change a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherWriter {
    /// The file or a directory above it belongs to another user, who may change its mode.
    Owner {
        /// The file, or that directory.
        path: PathBuf,
        /// That user.
        uid: u32,
    },
    /// The mode of the file lets its group or all write.
    File {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The mode of a directory above it lets its group or all put another file in its place.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl OtherWriter {
    /// The command that fixes it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Owner { path, .. } => format!("chown {} {}", super::user_id(), path.display()),
            Self::File { path, .. } | Self::Directory { path, .. } => format!("chmod go-w {}", path.display()),
        }
    }
}

impl fmt::Display for OtherWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { path, uid } => write!(f, "{} belongs to the user {uid}", path.display()),
            Self::File { path, mode } => write!(f, "{} has mode {mode:04o}", path.display()),
            Self::Directory { path, mode } => {
                write!(
                    f,
                    "the directory {} above it has mode {mode:04o}, so that others can replace it",
                    path.display()
                )
            }
        }
    }
}

/// Write permission of the group and of all.
const OTHERS_WRITE: u32 = 0o022;
/// In a sticky directory, only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// Finds out whether another user than root and this process's user may change a file or replace it; `None` if no other
/// user may. Every directory up to the root counts: a user who may rename one of them controls everything below it.
///
/// # Errors
/// If the file does not exist or cannot be examined.
pub fn other_writer(path: &Path) -> std::io::Result<Option<OtherWriter>> {
    let is_ours = |uid: u32| uid == 0 || uid == super::user_id();
    let file = std::fs::metadata(path)?;
    if file.file_type().is_char_device() {
        return Ok(None);
    }
    if !is_ours(file.uid()) {
        return Ok(Some(OtherWriter::Owner { path: path.to_owned(), uid: file.uid() }));
    }
    if file.mode() & OTHERS_WRITE != 0 {
        return Ok(Some(OtherWriter::File { path: path.to_owned(), mode: file.mode() & 0o7777 }));
    }
    if !file.is_file() {
        return Ok(None);
    }
    for directory in directories_passed(&std::path::absolute(path)?)? {
        let stat = std::fs::metadata(&directory)?;
        if !is_ours(stat.uid()) {
            return Ok(Some(OtherWriter::Owner { path: directory.clone(), uid: stat.uid() }));
        }
        if stat.mode() & OTHERS_WRITE != 0 && stat.mode() & STICKY == 0 {
            let mode = stat.mode() & 0o7777;
            return Ok(Some(OtherWriter::Directory { path: directory.clone(), mode }));
        }
    }
    Ok(None)
}

/// The number of symbolic links that the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// The directories in which the kernel looks up a name on the way to an absolute path, the nearest to the file first:
/// those that contain a symbolic link, and those that the link leads through.
fn directories_passed(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let names = |path: &Path| -> Vec<OsString> {
        path.components()
            .rev()
            .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let mut left = names(path);
    let mut here = PathBuf::from("/");
    let mut passed: Vec<PathBuf> = Vec::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        if !passed.contains(&here) {
            passed.push(here.clone());
        }
        let next = here.join(&name);
        if !std::fs::symlink_metadata(&next)?.file_type().is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(std::io::Error::other("too many symbolic links"));
        }
        let target = std::fs::read_link(&next)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        left.extend(names(&target));
    }
    passed.reverse();
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::{OtherWriter, other_writer};

    #[test]
    fn a_file_that_others_may_write_or_replace_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "x").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let set =
            |path: &std::path::Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
        set(&file, 0o644);
        assert_eq!(other_writer(&file).expect("it is there"), None);
        for mode in [0o664, 0o646] {
            set(&file, mode);
            for path in [&file, &link] {
                let found = other_writer(path).expect("it is there");
                assert_eq!(found, Some(OtherWriter::File { path: path.clone(), mode }));
            }
        }
        set(&file, 0o600);
        set(folder.path(), 0o777);
        assert!(matches!(other_writer(&link).expect("it is there"), Some(OtherWriter::Directory { mode: 0o777, .. })));
        set(folder.path(), 0o1777);
        assert_eq!(other_writer(&link).expect("it is there"), None);
        assert_eq!(other_writer("/dev/null".as_ref()).expect("it is there"), None);
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).expect("directories");
        fs::write(below.join("file"), "x").expect("a file");
        std::os::unix::fs::symlink("a/b", folder.path().join("near")).expect("a link");
        set(folder.path(), 0o755);
        set(&folder.path().join("a"), 0o777);
        let found = OtherWriter::Directory { path: folder.path().join("a"), mode: 0o777 };
        for path in [below.join("file"), folder.path().join("near/file")] {
            assert_eq!(other_writer(&path).expect("it is there"), Some(found.clone()), "{}", path.display());
        }
        assert!(other_writer(&folder.path().join("none")).is_err());
    }
}
