//! The index of a packed part: its files are pieces of one file, `data.packed`.
//!
//! The format, as 26.9 writes it: a byte with the version, 0; the number of files, 8 bytes; for each file the length of
//! its name as a `VarUInt`, the name, and the offset and number of its bytes, 8 bytes each, little-endian; then the
//! bytes of the files.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::ChecksumsError::{self, Malformed, Truncated, UnsupportedVersion};
use super::input::Input;

/// The files of an archive by their names, with the range of bytes that each occupies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedIndex(BTreeMap<Vec<u8>, Range<u64>>);

/// The longest accepted name of a file of a part.
const NAME_LIMIT_BYTES: u64 = 4096;

impl PackedIndex {
    /// Reads the index from `head`, the beginning of an archive of `archive_bytes` bytes.
    ///
    /// # Errors
    /// [`Truncated`](ChecksumsError::Truncated) if the index is longer than `head`;
    /// [`UnsupportedVersion`](ChecksumsError::UnsupportedVersion), which does not mean damage.
    pub fn parse(head: &[u8], archive_bytes: u64) -> Result<Self, ChecksumsError> {
        let mut input = Input::new(head);
        let version = input.byte("the version of the archive")?;
        if version != 0 {
            return Err(UnsupportedVersion(u64::from(version)));
        }
        let number = |input: &mut Input<'_>, field| input.array(field).map(u64::from_le_bytes);
        let mut files = BTreeMap::new();
        for _ in 0..number(&mut input, "the number of files")? {
            let length = input.varint("a name's length")?;
            let length = usize::try_from(length).ok().filter(|_| length <= NAME_LIMIT_BYTES);
            let name = input.take(length.ok_or(Malformed("a name's length"))?, "a name")?.to_vec();
            let (begin, bytes) = (number(&mut input, "an offset")?, number(&mut input, "a size")?);
            let end = begin.checked_add(bytes).filter(|end| *end <= archive_bytes);
            files.insert(name, begin..end.ok_or(Malformed("a size"))?);
        }
        Ok(Self(files))
    }

    /// The range of bytes that a file occupies in the archive.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Range<u64>> {
        self.0.get(name).cloned()
    }
}

/// Whether reading a longer beginning of the archive may succeed.
#[must_use]
pub fn is_cut_short(error: &ChecksumsError) -> bool {
    matches!(error, Truncated(_))
}
