//! The check that something fits, before it is begun.

use std::path::Path;

use crate::model::{Room, RoomLack, RoomNeed};

use super::error::{Copies, OpError};

/// Checks that there is room for this at `path`, and that this much stays free.
///
/// # Errors
/// [`OpError::LowSpace`] or [`OpError::LowInodes`] if there is not.
pub(in crate::ops) fn check_room(
    (path, room): (&Path, Room),
    (need, copies): (RoomNeed, Option<Copies>),
    min_free_bytes: u64,
) -> Result<(), OpError> {
    let path = path.to_owned();
    Err(match room.lack(need, min_free_bytes) {
        None => return Ok(()),
        Some(RoomLack::Inodes) => {
            OpError::LowInodes { path, free_inodes: room.free_inodes.unwrap_or(0), inodes: need.inodes }
        }
        Some(RoomLack::Bytes) => {
            OpError::LowSpace { path, free_bytes: room.free_bytes, copies: copies.map(Box::new), min_free_bytes }
        }
    })
}
