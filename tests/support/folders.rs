//! The directories in which tests keep their files.

use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// More than the largest test here needs.
const ROOM_BYTES: u64 = 2 << 30;

/// Returns a directory in memory, in which nothing waits for a disk, or the usual one for temporary files if this
/// machine has no directory in memory with enough room in which programs may run and devices may be opened.
pub fn memory_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let serves = statvfs(memory).is_ok_and(|found| {
        let refused = StatVfsMountFlags::NOEXEC | StatVfsMountFlags::NODEV | StatVfsMountFlags::RDONLY;
        !found.f_flag.intersects(refused) && found.f_bavail.saturating_mul(found.f_frsize) >= ROOM_BYTES
    });
    if serves { memory.to_owned() } else { std::env::temp_dir() }
}
