//! The bytes of `checksums.txt` that are still to be read, and its primitive fields.

use super::cityhash::FileHash;
use super::error::ChecksumsError::{self, Malformed, Truncated};

/// The rest of an input. Every method takes the name of the field it reads, for the error.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], ChecksumsError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Truncated(field))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ChecksumsError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Truncated(field))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, ChecksumsError> {
        self.array(field).map(|[byte]| byte)
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<FileHash, ChecksumsError> {
        self.array(field).map(FileHash::from_bytes)
    }

    /// Exactly the bytes of `literal`.
    pub(super) fn literal(&mut self, literal: &[u8], field: &'static str) -> Result<(), ChecksumsError> {
        if let Some(rest) = self.0.strip_prefix(literal) {
            self.0 = rest;
            Ok(())
        } else if literal.starts_with(self.0) {
            Err(Truncated(field))
        } else {
            Err(Malformed(field))
        }
    }

    /// The bytes before the next one for which `is_end` holds; that one is not consumed.
    pub(super) fn until(
        &mut self,
        is_end: impl Fn(u8) -> bool,
        field: &'static str,
    ) -> Result<&'a [u8], ChecksumsError> {
        let len = self.0.iter().position(|&byte| is_end(byte)).ok_or(Truncated(field))?;
        self.take(len, field)
    }

    /// Decimal digits, up to the first byte that is not a digit.
    pub(super) fn decimal(&mut self, field: &'static str) -> Result<u64, ChecksumsError> {
        let digits = self.until(|byte| !byte.is_ascii_digit(), field)?;
        if digits.is_empty() {
            return Err(Malformed(field));
        }
        digits
            .iter()
            .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
            .ok_or(Malformed(field))
    }

    /// A LEB128 number of at most 64 bits, `ClickHouse`'s `VarUInt`.
    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, ChecksumsError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Malformed(field));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed(field))
    }
}
