//! Packed parts: their files are pieces of one file, which a freeze rewrites instead of linking it.

use crate::checksums::{Checksums, ChecksumsError, FileChecksum, FileName, PackedIndex, is_cut_short};
use crate::fs::{ContentDigest, Dir, Entry, EntryKind, ErrorKind, FsError, Hashing, ReadOptions};
use crate::model::PartName;

use super::problems::Problems;

/// The archive of a packed part or projection.
pub(super) const PACKED: &str = "data.packed";
/// The name of the link to the live archive until it replaces the frozen one.
const LINKED: &str = "data.packed.linked";
const CHECKSUMS: &str = "checksums.txt";
/// How many bytes of an archive are read for its index at first; the amount doubles until the index fits.
const INDEX_BYTES: u64 = 64 << 10;
const INDEX_LIMIT_BYTES: u64 = 64 << 20;

/// An archive, and its own `checksums.txt`.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) index: PackedIndex,
    pub(super) checksums: Checksums,
}

/// Why the files of an archive cannot be listed.
#[derive(Debug)]
pub(super) enum UnreadableArchive {
    /// It is of an unknown kind, or encrypted.
    Unusable(String),
    /// It is damaged.
    Damaged(String),
}

fn unread(what: &str, error: &ChecksumsError) -> UnreadableArchive {
    let reason = format!("{what} cannot be used: {error}");
    match error {
        ChecksumsError::Encrypted | ChecksumsError::UnsupportedVersion(_) => UnreadableArchive::Unusable(reason),
        _ => UnreadableArchive::Damaged(reason),
    }
}

/// Reads the index of the archive `name` in `dir`, and its `checksums.txt`.
///
/// # Errors
/// If it cannot be read; whatever is wrong with it is in the answer.
pub(super) fn read_archive(dir: &Dir, name: &str) -> Result<Result<Archive, UnreadableArchive>, FsError> {
    let bytes = dir.stat(name)?.size_bytes;
    let mut head_bytes = INDEX_BYTES;
    let index = loop {
        let head = dir.read_range(name, 0..head_bytes)?;
        if head.starts_with(b"ENC") {
            return Ok(Err(unread("its data.packed", &ChecksumsError::Encrypted)));
        }
        match PackedIndex::parse(&head, bytes) {
            Ok(index) => break index,
            Err(error) if is_cut_short(&error) && head_bytes < bytes.min(INDEX_LIMIT_BYTES) => head_bytes *= 2,
            Err(error) => return Ok(Err(unread("its data.packed", &error))),
        }
    };
    let Some(range) = index.find(CHECKSUMS.as_bytes()).filter(|range| range.end - range.start <= INDEX_LIMIT_BYTES)
    else {
        return Ok(Err(UnreadableArchive::Damaged("its data.packed has no checksums.txt".to_owned())));
    };
    Ok(match Checksums::parse(&dir.read_range(name, range)?) {
        Ok(checksums) => Ok(Archive { index, checksums }),
        Err(error) => Err(unread("the checksums.txt in its data.packed", &error)),
    })
}

impl Archive {
    /// Names the files of the archive that are missing, or have another size than its checksums say.
    pub(super) fn compare_sizes(&self, problems: &mut Problems) {
        for (name, entry) in self.checksums.files() {
            let bytes = self.index.find(name.as_bytes()).map(|range| range.end - range.start);
            if bytes.is_none() || bytes != Some(entry.size) && !name.is_gin_index() {
                let found = bytes.map_or("lacks it".to_owned(), |bytes| format!("has {bytes} bytes of it"));
                let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
                problems.push(|| format!("its file {name} should have {} bytes, and data.packed {found}", entry.size));
            }
        }
    }
}

/// Reads all files of an archive, and names those that do not match its checksums, together with the number of bytes
/// read.
///
/// # Errors
/// If it cannot be read.
pub(super) fn damage_in_archive(
    dir: &Dir,
    name: &str,
    options: ReadOptions<'_>,
) -> Result<(Vec<(String, String)>, u64), FsError> {
    let archive = match read_archive(dir, name)? {
        Ok(archive) => archive,
        Err(UnreadableArchive::Unusable(_)) => return Ok((Vec::new(), 0)),
        Err(UnreadableArchive::Damaged(reason)) => return Ok((vec![("an archive of files".to_owned(), reason)], 0)),
    };
    let (mut damage, mut read_bytes) = (Vec::new(), 0);
    let mut check = |name_in: &FileName, entry: &FileChecksum| -> Result<(), FsError> {
        let shown = String::from_utf8_lossy(name_in.as_bytes()).into_owned();
        let expected = format!("its file {shown} with {} bytes and the hash {}", entry.size, entry.hash);
        let range = archive.index.find(name_in.as_bytes()).filter(|range| range.end - range.start == entry.size);
        let Some(range) = range else {
            damage.push((expected, "another size, or nothing".to_owned()));
            return Ok(());
        };
        let (found, bytes) = dir.hash_range(name, range, Hashing::ClickHouse, options)?;
        read_bytes += bytes;
        if let Some(found) = found.filter(|found| *found != ContentDigest::ClickHouse(entry.hash)) {
            damage.push((expected, format!("the hash {found}")));
        }
        Ok(())
    };
    for (name, entry) in archive.checksums.files().filter(|(name, _)| !name.is_gin_index()) {
        check(name, entry)?;
    }
    Ok((damage, read_bytes))
}

/// Links the live archives of a frozen part, whose table has these `live` directories, over those that the freeze has
/// written. They hold the same files under the live inodes, and also the files that the freeze left out. Returns
/// whether the part's own archive is the live one now.
///
/// # Errors
/// If something cannot be read or linked for another reason than that the live part has vanished.
pub(super) fn link_archives(
    live: &[&Dir],
    part: &Dir,
    entries: &mut [Entry],
    name: &PartName,
) -> Result<bool, FsError> {
    let Some(own) = entries.iter().position(|entry| entry.name == PACKED) else { return Ok(false) };
    let mut is_linked = false;
    for table in live {
        let Some(live_part) = table.find_beneath(std::path::Path::new(name.as_str()))? else { continue };
        if !link_archive(&live_part, part)? {
            continue;
        }
        is_linked = true;
        for projection in entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let Some(projection) = projection.name.to_str() else { continue };
            if let (Some(from), Some(to)) = (
                live_part.find_beneath(std::path::Path::new(projection))?,
                part.find_beneath(std::path::Path::new(projection))?,
            ) {
                link_archive(&from, &to)?;
            }
        }
        if let Some(entry) = entries.get_mut(own) {
            entry.inode = part.stat(PACKED)?.inode;
        }
        break;
    }
    Ok(is_linked)
}

/// Links the archive of a live directory over that of a frozen one, if both contain the same files.
fn link_archive(from: &Dir, to: &Dir) -> Result<bool, FsError> {
    let gone = |error: &FsError| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::CrossDevice | ErrorKind::TooManyLinks)
    };
    let (Some(live), Some(frozen)) = (from.find(PACKED)?, to.find(PACKED)?) else { return Ok(false) };
    if live.inode == frozen.inode && live.device == frozen.device {
        return Ok(true);
    }
    let checksums = |dir: &Dir| -> Result<Option<Checksums>, FsError> {
        match read_archive(dir, PACKED) {
            Err(error) if gone(&error) => Ok(None),
            read => Ok(read?.ok().map(|archive| archive.checksums)),
        }
    };
    let frozen = checksums(to)?;
    if frozen.is_none() || checksums(from)? != frozen {
        return Ok(false);
    }
    match to.link_from(from, PACKED, LINKED) {
        Err(error) if gone(&error) => Ok(false),
        linked => {
            linked?;
            to.rename_from(to, LINKED, PACKED)?;
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

    use std::fmt::Write as _;
    use std::fs;
    use std::sync::Arc;

    use super::{PACKED, damage_in_archive, read_archive};
    use crate::checksums::hash_bytes;
    use crate::exec::problems::Problems;
    use crate::fs::{Dir, ReadOptions, RealVerbs};

    /// Builds an archive of these files, with a list of their checksums.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut list = format!("checksums format version: 2\n{} files:\n", files.len());
        for (name, bytes) in files {
            let hash = u128::from_le_bytes(hash_bytes(bytes).to_bytes());
            let (low, high) = (hash & u128::from(u64::MAX), hash >> 64);
            let size = bytes.len();
            write!(list, "{name}\n\tsize: {size}\n\thash: {low} {high}\n\tcompressed: 0\n")
                .expect("a String takes all");
        }
        let mut all = vec![("checksums.txt", list.as_bytes())];
        all.extend(files.iter().copied());
        let mut at = 9 + all.iter().map(|(name, _)| 17 + name.len() as u64).sum::<u64>();
        let mut bytes = vec![0];
        bytes.extend((all.len() as u64).to_le_bytes());
        for (name, content) in &all {
            bytes.push(u8::try_from(name.len()).expect("short"));
            bytes.extend(name.as_bytes());
            bytes.extend(at.to_le_bytes());
            bytes.extend((content.len() as u64).to_le_bytes());
            at += content.len() as u64;
        }
        for (_, content) in &all {
            bytes.extend(*content);
        }
        bytes
    }

    fn damage(bytes: &[u8]) -> (usize, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(PACKED), bytes).expect("written");
        let dir = Dir::open(folder.path(), Arc::new(RealVerbs)).expect("a directory");
        let options = ReadOptions { rate: None, advanced: &|_| () };
        let (damage, _) = damage_in_archive(&dir, PACKED, options).expect("it reads");
        let mut problems = Problems::default();
        if let Ok(archive) = read_archive(&dir, PACKED).expect("it reads") {
            archive.compare_sizes(&mut problems);
        }
        (damage.len(), problems.into_list().len())
    }

    #[test]
    fn every_byte_of_an_archive_is_covered_by_its_own_checksums() {
        let many: Vec<(String, Vec<u8>)> = (0..5000_u32)
            .map(|number| (format!("column_number_{number}.bin"), number.to_le_bytes().repeat(3)))
            .collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let sound = archive(&many);
        assert_eq!(damage(&sound), (0, 0));
        for at in [sound.len() - 1, sound.len() - 5000] {
            let mut wrong = sound.clone();
            wrong[at] ^= 1;
            assert_eq!(damage(&wrong), (1, 0), "{at}");
        }
        assert_eq!(damage(&sound[..sound.len() - 1]).0, 1, "cut short");
        // An unknown format does not count as damage.
        let mut newer = sound.clone();
        newer[0] = 9;
        assert_eq!(damage(&newer), (0, 0));
        assert_eq!(damage(b"ENC and what follows"), (0, 0));
    }
}
