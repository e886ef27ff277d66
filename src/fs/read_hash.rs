//! Reads whole files once, from front to back, to hash them.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;

use rustix::fs::Advice;
use rustix::io::Errno;

use super::copy_hash::{ContentDigest, Hasher, Hashing};
use super::dir::{Dir, uninterrupted};
use super::error::FsError;
use super::extents::{advise, read_at, read_from_memory};
use super::rate::RateLimit;
use super::stat::Stat;

/// How files are read.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// How fast, if there is a limit.
    pub rate: Option<&'a RateLimit>,
    /// Notified of bytes as they are read.
    pub advanced: &'a (dyn Fn(u64) + Sync),
}

impl std::fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOptions").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// Bytes of one read. If the kernel reads ahead less than that, one request returns this much. If it reads ahead more,
/// it does so by itself and in larger pieces than when a range is requested in advance (`POSIX_FADV_WILLNEED`), which
/// was measured to halve the rate.
const READ_BYTES: u64 = 1 << 20;

/// Bytes of one read of what is in memory: they are still in the processor's cache when they are hashed. A sixth more
/// was hashed in a second than with [`READ_BYTES`].
const READ_BYTES_FROM_MEMORY: usize = 1 << 18;

thread_local! {
    /// Room for one read. The kernel clears new memory page by page, which takes a tenth of the time of hashing.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `read` with room for that many bytes.
fn with_buffer<T>(room: u64, read: impl FnOnce(&mut [u8]) -> T) -> T {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut buffer = BUFFER.take();
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    let result = read(buffer.get_mut(..room).unwrap_or_default());
    BUFFER.set(buffer);
    result
}

/// Reads up to the end of `room` at `offset`, and no more than a part of it if that part is in memory.
fn read_some(file: &File, room: &mut [u8], offset: u64) -> Result<usize, Errno> {
    if let Some(piece) = room.get_mut(..READ_BYTES_FROM_MEMORY) {
        match uninterrupted(|| read_from_memory(file, piece, offset))? {
            // Whether the file ends there is for the other call to say.
            None | Some(0) => {}
            Some(taken) => return Ok(taken),
        }
    }
    uninterrupted(|| read_at(file, room, offset))
}

impl Dir {
    /// Reads some bytes of a regular file: fewer if it ends before.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be read.
    pub fn read_range(&self, name: impl AsRef<OsStr>, range: Range<u64>) -> Result<Vec<u8>, FsError> {
        let name = name.as_ref();
        let (stat, file) = self.open_regular(name)?;
        let room = range.end.min(stat.size_bytes).saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(room).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = range.start + filled as u64;
            match uninterrupted(|| read_at(&file, rest, at)).map_err(self.error("read", name))? {
                0 => break,
                taken => filled += taken,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The hash of some bytes of a regular file, and their number.
    ///
    /// # Errors
    /// As [`Dir::read_range`].
    pub fn hash_range(
        &self,
        name: impl AsRef<OsStr>,
        range: Range<u64>,
        hashing: Hashing,
        options: ReadOptions<'_>,
    ) -> Result<(Option<ContentDigest>, u64), FsError> {
        let name = name.as_ref();
        let most = options.rate.map_or(READ_BYTES, |rate| rate.piece_bytes().min(READ_BYTES)).max(1);
        let (mut hasher, mut at) = (Hasher::new(hashing), range.start);
        while at < range.end {
            let end = range.end.min(at.saturating_add(most));
            if let Some(rate) = options.rate {
                rate.wait_for(end - at);
            }
            let bytes = self.read_range(name, at..end)?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(&bytes);
            at += bytes.len() as u64;
            (options.advanced)(bytes.len() as u64);
        }
        Ok((hasher.finish(), at - range.start))
    }

    /// Reads a regular file to its end, and returns its inode, its hash, and its length in bytes.
    ///
    /// Pages are marked as read only once, if the kernel supports that (Linux 6.3): a check does not displace what the
    /// server keeps in memory.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be read.
    pub fn hash_whole(
        &self,
        name: impl AsRef<OsStr>,
        hashing: Hashing,
        options: ReadOptions<'_>,
    ) -> Result<(Stat, Option<ContentDigest>, u64), FsError> {
        let name = name.as_ref();
        let (stat, file) = self.open_regular(name)?;
        let mut hasher = Hasher::new(hashing);
        if stat.size_bytes > READ_BYTES {
            advise(&file, 0..stat.size_bytes, Advice::Sequential);
            advise(&file, 0..stat.size_bytes, Advice::NoReuse);
        }
        // Room for one more byte than expected shows the end of a small file at the first read.
        let most = options.rate.map_or(READ_BYTES, |rate| rate.piece_bytes().min(READ_BYTES));
        let room = stat.size_bytes.saturating_add(1).min(most);
        with_buffer(room, |buffer| {
            let mut at = 0;
            loop {
                let taken = match options.rate {
                    Some(rate) => {
                        rate.wait_for(room.min(stat.size_bytes.saturating_sub(at)));
                        uninterrupted(|| read_at(&file, buffer, at))
                    }
                    None => read_some(&file, buffer, at),
                };
                let taken = taken.map_err(self.error("read", name))?;
                hasher.update(buffer.get(..taken).unwrap_or_default());
                at += taken as u64;
                (options.advanced)(taken as u64);
                let is_at_end = taken == 0 || (at == stat.size_bytes && room > stat.size_bytes);
                if is_at_end {
                    return Ok((stat, hasher.finish(), at));
                }
            }
        })
    }
}
