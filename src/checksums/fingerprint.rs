//! One hash for all files that a part's `checksums.txt` lists.

use crate::model::Fingerprint;

use super::cityhash::FileHash;
use super::file_name::FileName;
use super::siphash::sip_hash_128;

/// The bytes that an entry with a name of usual length takes in the message.
const USUAL_BYTES: usize = 48;

/// The fingerprint of `entries`, which must be in bytewise order of their names. See
/// `MergeTreeDataPartChecksums::getTotalChecksumUInt128` of `ClickHouse`.
pub(super) fn of_entries<'a>(entries: impl Iterator<Item = (&'a FileName, FileHash)>) -> Fingerprint {
    let mut message = Vec::with_capacity(entries.size_hint().0 * USUAL_BYTES);
    for (name, hash) in entries {
        let name_bytes = u64::try_from(name.as_bytes().len()).expect("a name has at most 255 bytes");
        message.extend_from_slice(&name_bytes.to_le_bytes());
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&hash.to_bytes());
    }
    let (low, high) = sip_hash_128(&message);
    Fingerprint::from_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

/// The form in which a part records the fingerprint of a projection as the hash of its entry.
impl From<Fingerprint> for FileHash {
    fn from(fingerprint: Fingerprint) -> Self {
        Self::from_bytes(u128::from_be_bytes(fingerprint.to_bytes()).to_le_bytes())
    }
}
