//! The room on a filesystem, and the least that files and directories need there.

use std::ops::AddAssign;

/// The bytes that an entry takes in its directory, at the least: 8, and a name of up to 8 letters. Source: `struct
/// ext4_dir_entry_2` in Linux's `fs/ext4/ext4.h`.
const ENTRY_BYTES: u64 = 16;

/// The room on a filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Free inodes; `None` if the filesystem creates them on demand.
    pub free_inodes: Option<u64>,
    /// The unit in which files take space.
    pub block_bytes: u64,
    /// The unit in which directories take space; `None` if a small one takes none of its own, or if that is unknown.
    pub directory_block_bytes: Option<u64>,
}

/// The least room that something needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomNeed {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl AddAssign for RoomNeed {
    fn add_assign(&mut self, other: Self) {
        // A server's figures may have any value.
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

/// The resource that is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomLack {
    /// Bytes.
    Bytes,
    /// Inodes.
    Inodes,
}

impl Room {
    /// The need of this many files whose sizes have this sum: each takes an inode and whole blocks.
    #[must_use]
    pub fn of_files(&self, files: u64, bytes: u64) -> RoomNeed {
        let block = self.block_bytes.max(1);
        let of_bytes = bytes.checked_next_multiple_of(block).unwrap_or(u64::MAX);
        let bytes = if bytes == 0 { 0 } else { of_bytes.max(files.saturating_mul(self.block_bytes)) };
        RoomNeed { bytes, inodes: files }
    }

    /// The need of a directory with this many entries.
    #[must_use]
    pub fn of_directory(&self, entries: u64) -> RoomNeed {
        let of_block = |block: u64| {
            let bytes = entries.saturating_mul(ENTRY_BYTES).max(1);
            bytes.checked_next_multiple_of(block.max(1)).unwrap_or(u64::MAX)
        };
        RoomNeed { bytes: self.directory_block_bytes.map_or(0, of_block), inodes: 1 }
    }

    /// The need of a part that is copied, with its directory.
    #[must_use]
    pub fn of_copied_part(&self, files: u64, bytes: u64) -> RoomNeed {
        let mut need = self.of_directory(files);
        need += self.of_files(files, bytes);
        need
    }

    /// The resource that is short for this need, if this much must stay free.
    #[must_use]
    pub fn lack(&self, need: RoomNeed, min_free_bytes: u64) -> Option<RoomLack> {
        if self.free_inodes.is_some_and(|free| need.inodes > free) {
            return Some(RoomLack::Inodes);
        }
        (need.bytes.saturating_add(min_free_bytes) > self.free_bytes).then_some(RoomLack::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Room, RoomLack, RoomNeed};

    const EXT4: Room =
        Room { free_bytes: 10_000, free_inodes: Some(10), block_bytes: 1024, directory_block_bytes: Some(1024) };

    #[test]
    fn files_take_whole_blocks_and_directories_a_block_and_an_inode_each() {
        assert_eq!(EXT4.of_files(3, 10), RoomNeed { bytes: 3072, inodes: 3 });
        assert_eq!(EXT4.of_files(3, 5000), RoomNeed { bytes: 5120, inodes: 3 });
        assert_eq!(EXT4.of_files(3, 0), RoomNeed { bytes: 0, inodes: 3 });
        assert_eq!(EXT4.of_directory(0), RoomNeed { bytes: 1024, inodes: 1 });
        assert_eq!(EXT4.of_directory(65), RoomNeed { bytes: 2048, inodes: 1 });
        assert_eq!(EXT4.of_copied_part(3, 10), RoomNeed { bytes: 4096, inodes: 4 });
        let inline = Room { directory_block_bytes: None, ..EXT4 };
        assert_eq!(inline.of_directory(65), RoomNeed { bytes: 0, inodes: 1 });
    }

    #[test]
    fn bytes_and_inodes_both_have_to_suffice() {
        let need = |bytes, inodes| RoomNeed { bytes, inodes };
        assert_eq!(EXT4.lack(need(10_000, 10), 0), None);
        assert_eq!(EXT4.lack(need(10_000, 10), 1), Some(RoomLack::Bytes));
        assert_eq!(EXT4.lack(need(10_001, 10), 0), Some(RoomLack::Bytes));
        assert_eq!(EXT4.lack(need(0, 11), 0), Some(RoomLack::Inodes));
        let on_demand = Room { free_inodes: None, ..EXT4 };
        assert_eq!(on_demand.lack(need(0, u64::MAX), 0), None);
    }

    proptest! {
        /// No figure of a server or a damaged list panics, and more never needs less.
        #[test]
        fn more_never_needs_less(files in any::<u64>(), bytes in any::<u64>(), block in 0_u64..1 << 40) {
            let room = Room { block_bytes: block, directory_block_bytes: Some(block), ..Room::default() };
            let (need, more) = (room.of_copied_part(files / 2, bytes / 2), room.of_copied_part(files, bytes));
            prop_assert!(need.bytes <= more.bytes && need.inodes <= more.inodes);
            let mut twice = need;
            twice += more;
            prop_assert!(twice.bytes >= more.bytes && twice.inodes >= more.inodes);
        }
    }
}
