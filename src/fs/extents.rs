//! Where the bytes of a file are, and what the kernel is told about them.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::statfs::{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

/// The first stretch of data in `range`; none where all of it is a hole. Moves the position of `file`.
pub(super) fn next_data(file: impl AsFd, range: Range<u64>) -> Result<Option<Range<u64>>, Errno> {
    if range.is_empty() {
        return Ok(None);
    }
    let start = match rustix::fs::seek(&file, SeekFrom::Data(range.start)) {
        Ok(start) if start >= range.end => return Ok(None),
        Ok(start) => start,
        // No data from there to the end.
        Err(Errno::NXIO) => return Ok(None),
        // A filesystem that cannot tell: all of it is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(range)),
        Err(errno) => return Err(errno),
    };
    let end = match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
        // A hole at the start of data: something is changing it. A step goes on.
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

/// Tells the kernel how these bytes will be used; a kernel that does not care is as good.
pub(super) fn advise(file: impl AsFd, range: Range<u64>, advice: Advice) {
    let Some(bytes) = NonZeroU64::new(range.end.saturating_sub(range.start)) else { return };
    if let Err(errno) = rustix::fs::fadvise(file, range.start, Some(bytes), advice) {
        tracing::trace!(%errno, "advice is not taken");
    }
}

/// Whether blocks asked for ahead help on the filesystem of `file`. Those that write elsewhere than they were asked to,
/// compress, or keep all in memory lose by it.
pub(super) fn preallocates(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|stat| [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC].contains(&stat.filesystem_type()))
}
