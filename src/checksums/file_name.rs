//! The name of an entry of `checksums.txt`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest name Linux filesystems store (`NAME_MAX`), in bytes.
const MAX_BYTES: usize = 255;

/// The name of a file or projection directory directly inside a part.
///
/// Invariant: 1 to 255 bytes, none of them `/` or NUL, and neither `.` nor `..`; so joining it to
/// the path of a part never leaves that part. The order is bytewise, as in `ClickHouse`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Box<[u8]>);

impl FileName {
    /// Checks `name` and takes a copy of it.
    ///
    /// # Errors
    /// [`InvalidFileName`] if `name` breaks the invariant of this type.
    pub fn new(name: &[u8]) -> Result<Self, InvalidFileName> {
        let valid = (1..=MAX_BYTES).contains(&name.len())
            && !name.iter().any(|byte| matches!(byte, b'/' | 0))
            && name != b"."
            && name != b"..";
        if valid {
            Ok(Self(name.into()))
        } else {
            let shown = name.get(..MAX_BYTES).unwrap_or(name);
            Err(InvalidFileName(shown.escape_ascii().to_string()))
        }
    }

    /// The bytes of the name in the directory.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as a path of one component.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether this is a projection: a directory inside the part with its own `checksums.txt`.
    #[must_use]
    pub fn is_projection(&self) -> bool {
        self.0.ends_with(b".proj")
    }

    /// Whether this belongs to an inverted index of the old kind: `skp_idx_<name>.gin_*`. `ClickHouse` records no valid
    /// size or hash for such a file and does not check it (`GinIndexStore.h`). A column may have `.gin_` in its name;
    /// its files then have both.
    #[must_use]
    pub fn is_gin_index(&self) -> bool {
        is_gin_index(&self.0)
    }
}

/// Works as [`FileName::is_gin_index`], for a name that was not checked.
#[must_use]
pub fn is_gin_index(name: &[u8]) -> bool {
    let extensions: [&[u8]; 5] = [b".gin_sid", b".gin_seg", b".gin_bflt", b".gin_dict", b".gin_post"];
    name.starts_with(b"skp_idx_") && extensions.iter().any(|extension| name.ends_with(extension))
}

/// Prints control characters escaped and bytes that are not UTF-8 replaced.
impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0).escape_debug())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({self})")
    }
}

/// A name that no file directly inside a part can have. Holds at most the first 255 bytes, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use \"{0}\" as the name of a file in a part")]
pub struct InvalidFileName(String);
