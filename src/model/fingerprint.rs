//! The 128-bit fingerprint of a part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The hash of the names and contents of all files that a part's `checksums.txt` lists.
///
/// Reads and prints, also with serde, as 32 lower-case hex digits, the way the server shows it in
/// `system.parts.hash_of_all_files`. Derived in the same way for versions without that column. Not
/// cryptographic, and silent about files that are not listed, among them `columns.txt`: parts with
/// equal fingerprints can differ in the types of their columns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// From 16 bytes in the order of the hex digits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// 16 bytes in the order of the hex digits.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is not 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read \"{0}\" as a fingerprint of 32 lower-case hex digits")]
pub struct ParseFingerprintError(String);

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    /// # Errors
    /// [`ParseFingerprintError`] unless `text` is 32 lower-case hex digits, the only accepted form, so
    /// that equal fingerprints have equal texts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        Some(text)
            .filter(|text| text.len() == 32 && text.bytes().all(is_digit))
            .and_then(|text| u128::from_str_radix(text, 16).ok())
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| ParseFingerprintError(text.chars().take(64).collect()))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
