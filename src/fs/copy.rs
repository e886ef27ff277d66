//! Copies one regular file from one directory to another, which may lie on another filesystem.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Advice;
use rustix::io::Errno;

use super::copy_hash::{BUFFER_BYTES, ContentDigest, Hasher, Hashing};
use super::copy_options::{CopiedFile, CopyError, CopyOptions, is_unsupported};
use super::dir::{Dir, component, uninterrupted};
use super::error::FsError;
use super::extents::{advise, next_data, preallocates, read_at};
use super::keep::{FileTarget, OpenInode, keep};
use super::rate::RateLimit;
use super::stat::{Stat, stat_of_fd, stat_with_access};

/// The number of bytes that the kernel copies by itself in one call.
const PIECE_BYTES: u64 = 8 << 20;
/// From this size on, it is worth a call to announce how a file will be read, and to look for its holes.
const LARGE_BYTES: u64 = 128 << 10;
/// The permission bits with which a file may be created.
const PERMISSIONS: u32 = 0o777;
/// From this size on, all blocks are allocated at once, and written out while the copy goes on.
const HUGE_BYTES: u64 = 16 << 20;

/// A copy under way. If it is dropped before it is finished, it removes what it has created.
#[derive(Debug)]
pub struct FileCopy<'a> {
    options: &'a CopyOptions<'a>,
    from: &'a Dir,
    from_name: OsString,
    source: File,
    source_path: PathBuf,
    stat: Stat,
    accessed: (i64, u32),
    to: FileTarget<'a>,
    name: OsString,
    target: Option<OwnedFd>,
    target_path: PathBuf,
    is_clone: bool,
    may_have_holes: bool,
    /// Bytes that are accounted for, holes included.
    covered_bytes: AtomicU64,
}

impl<'a> FileCopy<'a> {
    /// Opens `from_name` of `from`, and creates `name` in `to`, which only this user can read until it is finished. If
    /// clones are wanted and work, nothing remains to be copied.
    ///
    /// # Errors
    /// If the source is not a regular file or may not be read, if the entry `name` exists, or if there is no room.
    pub fn begin(
        options: &'a CopyOptions<'a>,
        from: &'a Dir,
        from_name: &OsStr,
        to: FileTarget<'a>,
        name: &OsStr,
    ) -> Result<Self, CopyError> {
        let (_, source) = from.open_regular(from_name)?;
        let (stat, accessed) = stat_with_access(&source).map_err(from.error("stat", from_name))?;
        let mode = if to.is_private { stat.ownership.mode & PERMISSIONS } else { 0o600 };
        let target = component(name)
            .and_then(|name| uninterrupted(|| to.dir.verbs.create_file(to.dir.fd(), name, mode)))
            .map_err(to.dir.error("create", name))?;
        let mut copy = Self {
            options,
            from,
            from_name: from_name.to_owned(),
            source,
            source_path: from.path().join(from_name),
            stat,
            accessed,
            to,
            name: name.to_owned(),
            target: Some(target),
            target_path: to.dir.path().join(name),
            is_clone: false,
            // In a large file, preallocated blocks can hide holes. In a small one, attributes that have a block of
            // their own can hide a hole of one block, which is then copied as zeros.
            may_have_holes: stat.allocated_bytes < stat.size_bytes || stat.size_bytes >= LARGE_BYTES,
            covered_bytes: AtomicU64::new(0),
        };
        copy.is_clone = copy.clone_blocks()?;
        if !copy.is_clone {
            copy.make_room()?;
        }
        Ok(copy)
    }

    /// The size that the source had when it was opened.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.stat.size_bytes
    }

    /// Whether the copy has all its bytes already, shared with the source.
    #[must_use]
    pub fn is_clone(&self) -> bool {
        self.is_clone
    }

    fn target(&self) -> OpenInode<'_> {
        let fd = self.target.as_ref().expect("it is open until the copy is finished").as_fd();
        OpenInode { fd, path: &self.target_path }
    }

    fn failed(&self, errno: Errno) -> CopyError {
        FsError::between("copy", &self.source_path, &self.target_path, errno).into()
    }

    fn changed(&self, what: &'static str) -> CopyError {
        CopyError::Changed { path: self.source_path.clone(), what }
    }

    fn clone_blocks(&self) -> Result<bool, CopyError> {
        if !self.options.wants_clones
            || self.stat.size_bytes == 0
            || self.options.clones_refused.load(Ordering::Relaxed)
        {
            return Ok(false);
        }
        match uninterrupted(|| self.to.dir.verbs.clone_file(self.source.as_fd(), self.target().fd)) {
            Ok(()) => Ok(true),
            Err(errno) if is_unsupported(errno) => {
                // EINVAL and EPERM can concern this one file only.
                if !matches!(errno, Errno::INVAL | Errno::PERM) {
                    self.options.clones_refused.store(true, Ordering::Relaxed);
                }
                Ok(false)
            }
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// Allocates the blocks of a huge file at once: this scatters it less, and a full disk shows before half of it is
    /// copied. Sets the size of a file with holes, so that a hole at its end is preserved.
    fn make_room(&mut self) -> Result<(), CopyError> {
        let size_bytes = self.stat.size_bytes;
        self.may_have_holes = self.may_have_holes
            && next_data(&self.source, 0..size_bytes).map_err(|errno| self.failed(errno))? != Some(0..size_bytes);
        let target = self.target();
        let result = if self.may_have_holes {
            uninterrupted(|| self.to.dir.verbs.set_size(target.fd, size_bytes))
        } else if size_bytes >= HUGE_BYTES && preallocates(target.fd) {
            match uninterrupted(|| self.to.dir.verbs.allocate(target.fd, 0, size_bytes)) {
                Err(errno) if is_unsupported(errno) => Ok(()),
                result => result,
            }
        } else {
            Ok(())
        };
        result.map_err(target.error("make room for"))?;
        if size_bytes >= LARGE_BYTES {
            advise(&self.source, 0..size_bytes, Advice::Sequential);
            // Read once: these pages displace none of those that the server works with. They are not dropped
            // afterwards, because they may be the server's own.
            advise(&self.source, 0..size_bytes, Advice::NoReuse);
        }
        Ok(())
    }

    /// Copies a range of the bytes; several threads may do so, each with its own range, until all bytes are copied.
    ///
    /// # Errors
    /// If it cannot be read or written, if the source has become shorter, or if the copy is interrupted.
    pub fn copy_range(&self, range: Range<u64>) -> Result<(), CopyError> {
        self.pass(range, &mut Hasher::None)
    }

    /// Copies all bytes, and hashes them on the way. A clone is only read, and only if a hash is wanted.
    ///
    /// # Errors
    /// As [`FileCopy::copy_range`].
    pub fn copy_all(&self, hashing: Hashing) -> Result<Option<ContentDigest>, CopyError> {
        let mut hasher = Hasher::new(hashing);
        self.pass(0..self.stat.size_bytes, &mut hasher)?;
        Ok(hasher.finish())
    }

    fn pass(&self, range: Range<u64>, hasher: &mut Hasher) -> Result<(), CopyError> {
        let bytes = range.end.saturating_sub(range.start);
        let mut buffer = Vec::new();
        let mut at = range.start;
        if self.is_clone && hasher.is_none() {
            self.advance(bytes)?;
            at = range.end;
        }
        while at < range.end {
            let data = if self.may_have_holes {
                next_data(&self.source, at..range.end).map_err(|errno| self.failed(errno))?
            } else {
                Some(at..range.end)
            };
            let data = data.unwrap_or(range.end..range.end);
            hasher.update_zeros(data.start - at);
            at = data.start;
            while at < data.end {
                let copied = self.copy_piece(at..data.end, hasher, &mut buffer)?;
                self.start_writing(at, copied);
                at += copied;
                self.advance(copied)?;
            }
        }
        self.covered_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Copies the beginning of `data`, and returns how many bytes that was.
    fn copy_piece(&self, data: Range<u64>, hasher: &mut Hasher, buffer: &mut Vec<u8>) -> Result<u64, CopyError> {
        let most = self.options.rate.map_or(PIECE_BYTES, RateLimit::piece_bytes).min(PIECE_BYTES);
        let bytes = (data.end - data.start).min(most);
        if hasher.is_none() && !self.options.ranges_refused.load(Ordering::Relaxed) {
            let (source, target) = (self.source.as_fd(), self.target());
            let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
            match uninterrupted(|| self.to.dir.verbs.copy_range(source, target.fd, data.start, wanted)) {
                // Some filesystems answer 0 although there is something to read: reading shows which.
                Ok(0) => {}
                Ok(copied) => return Ok(copied as u64),
                Err(errno) if is_unsupported(errno) => self.options.ranges_refused.store(true, Ordering::Relaxed),
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        buffer.resize(usize::try_from(bytes.min(BUFFER_BYTES)).unwrap_or(usize::MAX).max(buffer.len()), 0);
        let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..most).unwrap_or_default();
        let taken = uninterrupted(|| read_at(&self.source, room, data.start))
            .map_err(|errno| FsError::new("read", &self.source_path, errno))?;
        if taken == 0 {
            return Err(self.changed("became shorter"));
        }
        let read = buffer.get(..taken).unwrap_or_default();
        hasher.update(read);
        if !self.is_clone {
            self.write_all(read, data.start)?;
        }
        Ok(taken as u64)
    }

    fn write_all(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), CopyError> {
        let target = self.target();
        while !bytes.is_empty() {
            let taken = uninterrupted(|| self.to.dir.verbs.write_at(target.fd, bytes, offset))
                .and_then(|taken| if taken == 0 { Err(Errno::IO) } else { Ok(taken) })
                .map_err(target.error("write"))?;
            bytes = bytes.get(taken..).unwrap_or_default();
            offset += taken as u64;
        }
        Ok(())
    }

    /// Has the kernel start writing out what was copied, and drop the pages that are written, so that a huge file
    /// neither fills the memory with its copy nor leaves all the work to the sync at the end.
    fn start_writing(&self, at: u64, copied: u64) {
        let end = at + copied;
        if self.stat.size_bytes >= HUGE_BYTES && !self.is_clone && at / PIECE_BYTES != end / PIECE_BYTES {
            advise(self.target().fd, at.saturating_sub(2 * PIECE_BYTES)..end, Advice::DontNeed);
        }
    }

    fn advance(&self, bytes: u64) -> Result<(), CopyError> {
        if let Some(rate) = self.options.rate.filter(|_| !self.is_clone) {
            rate.wait_for(bytes);
        }
        match (self.options.advanced)(bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CopyError::Interrupted { path: self.source_path.clone() }),
        }
    }

    /// Checks that the source is unchanged, gives the copy the source's metadata, and closes it. Nothing is made
    /// durable.
    ///
    /// # Errors
    /// If the source has changed, if not all of it was copied, or if the filesystem fails.
    pub fn finish(mut self, digest: Option<ContentDigest>) -> Result<CopiedFile, CopyError> {
        let source = OpenInode { fd: self.source.as_fd(), path: &self.source_path };
        let after = stat_of_fd(source.fd).map_err(source.error("stat"))?;
        if after.size_bytes != self.stat.size_bytes {
            return Err(self.changed("changed its size"));
        }
        if after.modified != self.stat.modified {
            return Err(self.changed("was written to"));
        }
        let named = self.from.stat(&self.from_name)?;
        if (named.device, named.inode) != (self.stat.device, self.stat.inode) {
            return Err(self.changed("was replaced by another file"));
        }
        if !self.is_clone && self.covered_bytes.load(Ordering::Relaxed) != self.stat.size_bytes {
            return Err(self.failed(Errno::IO));
        }
        let (found, unkept) =
            keep(&*self.to.dir.verbs, source, (&after, self.accessed), (self.target(), self.to.inheritance))?;
        if found.size_bytes != self.stat.size_bytes {
            return Err(self.failed(Errno::IO));
        }
        let was_touched = after.changed != self.stat.changed;
        if let Some(target) = self.target.take()
            && let Err(errno) = self.to.dir.verbs.close(target)
        {
            self.discard();
            return Err(FsError::new("close", &self.target_path, errno).into());
        }
        Ok(CopiedFile { source: after, is_clone: self.is_clone, digest, unkept, was_touched })
    }

    fn discard(&self) {
        if let Err(error) = self.to.dir.remove_file(&self.name) {
            // The failure that led here is the one to report.
            tracing::debug!(%error, "a copy that was not finished stays");
        }
    }
}

impl Drop for FileCopy<'_> {
    fn drop(&mut self) {
        if self.target.take().is_some() {
            self.discard();
        }
    }
}

impl Dir {
    /// Copies the regular file `from_name` of `from` to `name` in this directory, with its metadata; holes stay holes.
    /// See [`FileCopy`].
    ///
    /// # Errors
    /// As [`FileCopy::begin`], [`FileCopy::copy_range`] and [`FileCopy::finish`]; no new entry `name` is then left
    /// behind.
    pub fn copy_from(
        &self,
        options: &CopyOptions<'_>,
        from: &Self,
        from_name: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
        hashing: Hashing,
    ) -> Result<CopiedFile, CopyError> {
        let to = FileTarget::new(self)?;
        let copy = FileCopy::begin(options, from, from_name.as_ref(), to, name.as_ref())?;
        let digest = copy.copy_all(hashing)?;
        copy.finish(digest)
    }
}
