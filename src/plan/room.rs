//! Warns about copies that do not fit.

use crate::model::{Room, RoomLack, RoomNeed, Warning, WarningKind, count, size, thousands};

/// The warning about copies that need more than there is.
#[must_use]
pub fn low_room_warning(room: Room, need: RoomNeed) -> Option<Warning> {
    let message = match room.lack(need, 0)? {
        RoomLack::Bytes => format!("{} are copied, and {} are free there", size(need.bytes), size(room.free_bytes)),
        RoomLack::Inodes => {
            let free = count(room.free_inodes.unwrap_or(0), "inode");
            format!("{} files and directories are made, and {free} are free there", thousands(need.inodes))
        }
    };
    Some(Warning::new(WarningKind::LowSpace, message))
}
