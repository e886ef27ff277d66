//! The ranges of a file that hold data, and hints about them for the kernel.

use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Advice, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

/// Types of ext4 and XFS (`statfs(2)`, `linux/magic.h`).
const PREALLOCATING: [i64; 2] = [0xEF53, 0x5846_5342];

/// The first range of data within `range`; `None` if all of it is a hole. Moves the position of `file`.
pub(super) fn next_data(file: impl AsFd, range: Range<u64>) -> Result<Option<Range<u64>>, Errno> {
    if range.is_empty() {
        return Ok(None);
    }
    let start = match rustix::fs::seek(&file, SeekFrom::Data(range.start)) {
        Ok(start) if start >= range.end => return Ok(None),
        Ok(start) => start,
        // No data from there to the end.
        Err(Errno::NXIO) => return Ok(None),
        // The filesystem cannot report holes: all of it counts as data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(range)),
        Err(errno) => return Err(errno),
    };
    let end = match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
        // A hole at the start of data: another process is changing the file. One step ahead makes progress.
        Ok(end) if end <= start => range.end.min(start + 4096),
        Ok(end) => range.end.min(end),
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => range.end,
        Err(errno) => return Err(errno),
    };
    Ok(Some(start..end))
}

pub(super) fn read_at(file: impl AsFd, room: &mut [u8], offset: u64) -> Result<usize, Errno> {
    rustix::io::pread(file, room, offset)
}

/// Reads only what is in memory. `None` if the first byte is not, or if the filesystem does not tell.
///
/// # Errors
/// If it cannot be read.
pub(super) fn read_from_memory(file: impl AsFd, room: &mut [u8], offset: u64) -> Result<Option<usize>, Errno> {
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(room)], offset, ReadWriteFlags::NOWAIT) {
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        result => result.map(Some),
    }
}

/// Tells the kernel how these bytes will be used; if the kernel ignores it, no harm is done.
pub(super) fn advise(file: impl AsFd, range: Range<u64>, advice: Advice) {
    let Some(bytes) = NonZeroU64::new(range.end.saturating_sub(range.start)) else { return };
    if let Err(errno) = rustix::fs::fadvise(file, range.start, Some(bytes), advice) {
        tracing::trace!(%errno, "advice is not taken");
    }
}

/// Whether preallocating blocks helps on the filesystem of `file`. It hurts on filesystems that write to other places
/// than those allocated, that compress, or that keep everything in memory.
pub(super) fn preallocates(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| PREALLOCATING.contains(&stat.f_type))
}
