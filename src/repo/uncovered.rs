//! The files of a part that its checksums do not cover, stored in few bytes: there can be a million of them in one
//! snapshot.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{ContentHash, read_number, write_number};

/// A file of a part that ClickHouse's checksums do not cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// Its path, relative to the part.
    pub path: CompactString,
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3; `None` for a file of data that is too large to be read while the snapshot is made.
    pub blake3: Option<ContentHash>,
}

/// Files of a part, in the order in which they were given.
///
/// For each: the position of its path among the usual ones, counted from 1, or 0 followed by the length of the path and
/// the path; its size; and 1 followed by the BLAKE3, or 0. Numbers are LEB128. Copies share the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UncoveredFiles(Arc<[u8]>);

/// Files that nearly every part has.
const USUAL: [&str; 6] = [
    "checksums.txt",
    "columns.txt",
    "columns_substreams.txt",
    "default_compression_codec.txt",
    "metadata_version.txt",
    "serialization.json",
];

impl UncoveredFiles {
    /// The files.
    pub fn iter(&self) -> impl Iterator<Item = PartFile> {
        let mut rest = &*self.0;
        // The bytes here always come from `from_iter`.
        std::iter::from_fn(move || read(&mut rest))
    }

    /// The file at a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<PartFile> {
        self.iter().find(|file| file.path == path)
    }
}

impl FromIterator<PartFile> for UncoveredFiles {
    fn from_iter<T: IntoIterator<Item = PartFile>>(files: T) -> Self {
        let mut bytes = Vec::new();
        for file in files {
            if let Some(place) = USUAL.iter().position(|usual| file.path == *usual) {
                write_number(&mut bytes, place as u64 + 1);
            } else {
                write_number(&mut bytes, 0);
                write_number(&mut bytes, file.path.len() as u64);
                bytes.extend(file.path.as_bytes());
            }
            write_number(&mut bytes, file.bytes);
            bytes.push(u8::from(file.blake3.is_some()));
            bytes.extend(file.blake3.iter().flat_map(|hash| hash.to_bytes()));
        }
        Self(bytes.into())
    }
}

fn read(rest: &mut &[u8]) -> Option<PartFile> {
    let path = if let Some(place) = usize::try_from(read_number(rest)?).ok()?.checked_sub(1) {
        CompactString::const_new(USUAL.get(place)?)
    } else {
        let length = usize::try_from(read_number(rest)?).ok()?;
        let (path, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        CompactString::from_utf8(path).ok()?
    };
    let bytes = read_number(rest)?;
    let (has_hash, behind) = rest.split_first()?;
    *rest = behind;
    let blake3 = if *has_hash == 1 {
        let (hash, behind) = rest.split_first_chunk()?;
        *rest = behind;
        Some(ContentHash::from_bytes(*hash))
    } else {
        None
    };
    Some(PartFile { path, bytes, blake3 })
}

impl fmt::Debug for UncoveredFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for UncoveredFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for UncoveredFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<PartFile>::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PartFile, USUAL, UncoveredFiles};

    fn file() -> impl Strategy<Value = PartFile> {
        let path = prop_oneof![proptest::sample::select(&USUAL[..]).prop_map(str::to_owned), ".{0,40}"];
        let size = prop_oneof![0_u64..300, any::<u64>()];
        (path, size, proptest::option::of(any::<[u8; 8]>())).prop_map(|(path, bytes, content)| PartFile {
            path: path.into(),
            bytes,
            blake3: content.map(|content| blake3::hash(&content).into()),
        })
    }

    proptest! {
        #[test]
        fn files_come_out_as_they_went_in(files in proptest::collection::vec(file(), 0..12)) {
            let packed: UncoveredFiles = files.iter().cloned().collect();
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), files.clone());
            let text = serde_json::to_string(&packed).expect("JSON");
            prop_assert_eq!(&text, &serde_json::to_string(&files).expect("JSON"));
            prop_assert_eq!(serde_json::from_str::<UncoveredFiles>(&text).expect("it reads"), packed);
        }
    }
}
