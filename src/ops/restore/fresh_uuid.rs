//! New UUIDs.

use crate::model::TableUuid;
use crate::ops::error::OpError;

use super::locked_dir::random;

/// A random UUID (version 4, RFC 9562).
pub(super) fn fresh_uuid() -> Result<TableUuid, OpError> {
    let mut number = 0_u128;
    for _ in 0..4 {
        number = number << 32 | u128::from(random()?);
    }
    let number = number & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (position, digit) in digits.chars().enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Ok(TableUuid::try_from(text).expect("32 hex digits with four dashes are a UUID"))
}
