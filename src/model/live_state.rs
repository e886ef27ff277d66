//! The state of a live part's directories, by which it is recognized as unchanged without a look at its files.

use compact_str::CompactString;

use super::leb128::{read_number, write_number};

/// The state of one directory. Adding, removing and renaming an entry changes it, and so does every change of the
/// directory's own owner, mode, name or times; bytes, owners and modes of its files do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryState {
    /// Its inode number.
    pub inode: u64,
    /// When it was created: seconds since 1970, and nanoseconds.
    pub born: (i64, u32),
    /// Its modification time, in the same form.
    pub modified: (i64, u32),
    /// Its change time, in the same form. No program can set it.
    pub changed: (i64, u32),
    /// Its files, without those that no snapshot has.
    pub files: u32,
}

/// The state of a live part that has the content of a part in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePartState {
    /// Its directories with their paths below the part: itself first, with an empty path, then its projections by name.
    pub directories: Vec<(CompactString, DirectoryState)>,
    /// The highest number of links that one of its files had when the files were last compared.
    pub links: u32,
}

/// A directory that changed less than this before it was looked at may have changed again without a trace: kernels stamp
/// with the time of their last tick, some filesystems by the second.
const SETTLED_SECONDS: i64 = 2;
/// More directories than any part has.
const DIRECTORY_LIMIT: u64 = 1 << 16;

impl LivePartState {
    /// Whether every change after `seconds` since 1970 would show in it.
    #[must_use]
    pub fn is_settled_at(&self, seconds: i64) -> bool {
        let settles = |(_, state): &(_, DirectoryState)| state.changed.0.saturating_add(SETTLED_SECONDS) < seconds;
        self.directories.iter().all(settles)
    }

    /// Encodes it in LEB128: the links, then of each directory the length of its path, the path, and the fields of its
    /// state in their order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48 * self.directories.len());
        write_number(&mut bytes, u64::from(self.links));
        for (path, state) in &self.directories {
            write_number(&mut bytes, path.len() as u64);
            bytes.extend_from_slice(path.as_bytes());
            write_number(&mut bytes, state.inode);
            for (seconds, nanoseconds) in [state.born, state.modified, state.changed] {
                write_number(&mut bytes, seconds.cast_unsigned());
                write_number(&mut bytes, u64::from(nanoseconds));
            }
            write_number(&mut bytes, u64::from(state.files));
        }
        bytes
    }

    /// Decodes what [`LivePartState::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let links = read_number(bytes)?.try_into().ok()?;
        let mut directories = Vec::new();
        while !bytes.is_empty() && (directories.len() as u64) < DIRECTORY_LIMIT {
            let length = read_number(bytes)?.try_into().ok()?;
            let (path, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            directories.push((CompactString::from_utf8(path).ok()?, read_state(bytes)?));
        }
        (bytes.is_empty() && !directories.is_empty()).then_some(Self { directories, links })
    }
}

fn read_state(bytes: &mut &[u8]) -> Option<DirectoryState> {
    let inode = read_number(bytes)?;
    let mut time = || Some((read_number(bytes)?.cast_signed(), u32::try_from(read_number(bytes)?).ok()?));
    let (born, modified, changed) = (time()?, time()?, time()?);
    let files = read_number(bytes)?.try_into().ok()?;
    Some(DirectoryState { inode, born, modified, changed, files })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DirectoryState, LivePartState};

    fn state() -> impl Strategy<Value = DirectoryState> {
        let time = || (any::<i64>(), 0..1_000_000_000_u32);
        (any::<u64>(), time(), time(), time(), any::<u32>()).prop_map(|(inode, born, modified, changed, files)| {
            DirectoryState { inode, born, modified, changed, files }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            directories in prop::collection::vec(("[a-z.é]{0,30}", state()), 1..5), links in any::<u32>()
        ) {
            let directories = directories.into_iter().map(|(path, state)| (path.into(), state)).collect();
            let state = LivePartState { directories, links };
            prop_assert_eq!(LivePartState::from_bytes(&state.to_bytes()), Some(state));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(LivePartState::from_bytes(&bytes));
        }
    }

    #[test]
    fn a_directory_settles_after_two_seconds() {
        let state = DirectoryState { inode: 7, born: (1, 0), modified: (5, 0), changed: (100, 999_999_999), files: 3 };
        let part = LivePartState { directories: vec![("".into(), state)], links: 1 };
        assert!(!part.is_settled_at(50) && !part.is_settled_at(102) && part.is_settled_at(103));
    }
}
