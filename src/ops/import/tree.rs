//! Foreign trees, read beneath their own directory.

use std::path::{Path, PathBuf};

use crate::fs::{Dir, EntryKind};
use crate::model::{PartName, TableName, unescape_file_name};
use crate::ops::error::OpError;
use crate::plan::{PartFilesSource, SourcePart, relative_path};

use crate::ops::import_error::ImportError;

/// A definition has a few kilobytes; a JSON file of clickhouse-backup also lists the parts of a table.
pub(super) const TEXT_LIMIT_BYTES: u64 = 256 << 20;

/// A name in a tree, as a path beneath it.
///
/// # Errors
/// If the name leads anywhere else.
pub(super) fn beneath(list: &Path, name: &str) -> Result<PathBuf, ImportError> {
    relative_path(name).ok_or_else(|| ImportError::Name {
        path: list.to_owned(),
        name: name.chars().take(200).collect(),
        what: "is no path beneath the tree",
    })
}

/// Reads a text file beneath a tree.
///
/// # Errors
/// If it cannot be read, is missing, or is not UTF-8.
pub(super) fn read_text(dir: &Dir, relative: &Path) -> Result<String, OpError> {
    let above = dir.open_beneath(relative.parent().unwrap_or(Path::new("")))?;
    let bytes = above.read(relative.file_name().unwrap_or_default(), TEXT_LIMIT_BYTES)?;
    String::from_utf8(bytes).map_err(|_| {
        let path = dir.path().join(relative);
        ImportError::Form { path, what: "is not UTF-8".to_owned() }.into()
    })
}

/// The names of the directories in a directory. Names that begin with a dot are ignored: a server creates none.
///
/// # Errors
/// If it cannot be read, or contains a symbolic link: what the link leads to would be missing.
pub(super) fn directories(dir: &Dir) -> Result<Vec<String>, OpError> {
    let (names, links) = directories_and_links(dir)?;
    match links.into_iter().next() {
        Some(link) => Err(is_link(dir, link).into()),
        None => Ok(names),
    }
}

/// As [`directories`], but lists the symbolic links as well.
///
/// # Errors
/// If it cannot be read.
pub(super) fn directories_and_links(dir: &Dir) -> Result<(Vec<String>, Vec<String>), OpError> {
    let (mut names, mut links) = (Vec::new(), Vec::new());
    for entry in dir.entries_with_kind()? {
        let found = match entry.kind {
            EntryKind::Directory => &mut names,
            EntryKind::Symlink => &mut links,
            _ => continue,
        };
        let name = entry.name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push(name);
        }
    }
    names.sort_unstable();
    links.sort_unstable();
    Ok((names, links))
}

/// The error for a symbolic link in place of a directory.
pub(super) fn is_link(dir: &Dir, name: String) -> ImportError {
    ImportError::Name { path: dir.path().to_owned(), name, what: "is a symbolic link, and none is followed" }
}

/// Directories in a table's directory that are not parts.
const NO_PARTS: [&str; 2] = ["detached", "moving"];

/// The parts in a table's directory.
///
/// # Errors
/// If it cannot be read, or something in it does not have the name of a part.
pub(super) fn parts_in(dir: &Dir, relative: &Path, table: &TableName, disk: &str) -> Result<Vec<SourcePart>, OpError> {
    let mut parts = Vec::new();
    for name in directories(dir)?.into_iter().filter(|name| !NO_PARTS.contains(&name.as_str())) {
        let content = PartFilesSource::Directory(relative.join(&name));
        let name = PartName::try_from(name.clone())
            .ok()
            .filter(|name| name.blocks().is_some())
            .ok_or_else(|| ImportError::Name { path: dir.path().to_owned(), name, what: "is no part" })?;
        parts.push(SourcePart { table: table.clone(), name, disk: disk.to_owned(), content });
    }
    Ok(parts)
}

/// Decodes a name that a server has escaped.
///
/// # Errors
/// If no server writes such a name.
pub(super) fn unescaped(dir: &Path, name: &str) -> Result<String, ImportError> {
    unescape_file_name(name).ok_or_else(|| ImportError::Name {
        path: dir.to_owned(),
        name: name.chars().take(200).collect(),
        what: "is no name that ClickHouse escapes like this",
    })
}
