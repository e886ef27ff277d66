//! Small files in one object: their number, their sizes, their bytes.

const MAGIC: &[u8; 8] = b"CHSPACK1";

/// Builds the object that contains these files, in their order.
#[must_use]
pub fn write_pack(files: &[Vec<u8>]) -> Vec<u8> {
    let bytes: usize = files.iter().map(Vec::len).sum();
    let mut pack = Vec::with_capacity(MAGIC.len() + 4 + 8 * files.len() + bytes);
    pack.extend_from_slice(MAGIC);
    pack.extend_from_slice(&u32::try_from(files.len()).unwrap_or(u32::MAX).to_le_bytes());
    for file in files {
        pack.extend_from_slice(&(file.len() as u64).to_le_bytes());
    }
    for file in files {
        pack.extend_from_slice(file);
    }
    pack
}

/// The files of an object that [`write_pack`] has built; `None` for any other bytes.
#[must_use]
pub fn read_pack(pack: &[u8]) -> Option<Vec<&[u8]>> {
    let rest = pack.strip_prefix(MAGIC)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    // The claimed number of files is capped by the number of bytes.
    let mut sizes = Vec::with_capacity(count.min(rest.len() / 8));
    for _ in 0..count {
        let (size, behind) = rest.split_first_chunk::<8>()?;
        sizes.push(usize::try_from(u64::from_le_bytes(*size)).ok()?);
        rest = behind;
    }
    let mut files = Vec::with_capacity(sizes.len());
    for size in sizes {
        let (file, behind) = rest.split_at_checked(size)?;
        files.push(file);
        rest = behind;
    }
    rest.is_empty().then_some(files)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pack_has_its_files_back_and_is_refused_when_it_is_cut_or_longer(
            files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let pack = write_pack(&files);
            let read: Vec<Vec<u8>> = read_pack(&pack).expect("a pack").into_iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(read, files);
            prop_assert!(read_pack(&pack[..cut.index(pack.len())]).is_none());
            prop_assert!(read_pack(&[pack, vec![0]].concat()).is_none());
        }
    }
}
