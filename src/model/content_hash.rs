//! The BLAKE3 of a file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// BLAKE3 of the whole content of a file. Reads and prints, also with serde, as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// From 32 bytes in the order of the hex digits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 32 bytes in the order of the hex digits.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

/// A text is not a BLAKE3 hash.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no BLAKE3: that has 64 hex digits")]
pub struct InvalidContentHash {
    text: String,
}

impl From<blake3::Hash> for ContentHash {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl From<ContentHash> for blake3::Hash {
    fn from(hash: ContentHash) -> Self {
        Self::from_bytes(hash.0)
    }
}

impl FromStr for ContentHash {
    type Err = InvalidContentHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(text);
        hash.map(Self::from).map_err(|_| InvalidContentHash { text: text.chars().take(80).collect() })
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::ContentHash;

    #[test]
    fn it_reads_what_it_prints_and_nothing_else() {
        let hash = ContentHash::from(blake3::hash(b"x"));
        let text = serde_json::to_string(&hash).expect("JSON");
        assert_eq!(text, format!("\"{}\"", blake3::hash(b"x").to_hex()));
        assert_eq!(serde_json::from_str::<ContentHash>(&text).expect("a hash"), hash);
        for other in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            assert!(
                other.parse::<ContentHash>().expect_err("no hash").to_string().contains("64 hex digits"),
                "{other}"
            );
        }
    }
}
