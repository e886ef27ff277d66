//! The names of the freezes that chsnap requests, and the repository id that they contain.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// 128 random bits, as 32 lower-case hex digits, that tell one repository from another.
///
/// It becomes part of file names and of statements, so nothing else is read as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryId(String);

/// A text is not the id of a repository.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not the id of a repository: that has 32 lower-case hex digits")]
pub struct ParseRepositoryIdError {
    text: String,
}

impl RepositoryId {
    /// An id made from these random bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Its first 8 digits, for places where the whole id is too long to read.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// The prefix of all freeze names of this repository: `chsnap_<first 8 digits>_`.
    #[must_use]
    pub fn freeze_prefix(&self) -> String {
        format!("chsnap_{}_", self.short())
    }
}

impl TryFrom<String> for RepositoryId {
    type Error = ParseRepositoryIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text)) } else { Err(ParseRepositoryIdError { text: text.chars().take(100).collect() }) }
    }
}

impl From<RepositoryId> for String {
    fn from(id: RepositoryId) -> Self {
        id.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `chsnap_<first 8 of the repository id>_<UTC digits>_<random>`: the directory under `shadow/` that is ours.
///
/// Letters, digits and `_` only, which ClickHouse does not escape on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FreezeName(String);

/// A text is not one of chsnap's freeze names.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a freeze name of chsnap's")]
pub struct ParseFreezeNameError {
    text: String,
}

impl FreezeName {
    /// The name of one freeze of one run.
    #[must_use]
    pub fn new(repository: &RepositoryId, time: DateTime<Utc>, random: u32) -> Self {
        Self(format!("{}{}_{random:08x}", repository.freeze_prefix(), time.format("%Y%m%d%H%M%S")))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FreezeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FreezeName {
    type Error = ParseFreezeNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain && text.starts_with("chsnap_") && text.len() <= 100 {
            Ok(Self(text))
        } else {
            Err(ParseFreezeNameError { text })
        }
    }
}

impl std::str::FromStr for FreezeName {
    type Err = ParseFreezeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<FreezeName> for String {
    fn from(name: FreezeName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::{FreezeName, RepositoryId};

    #[test]
    fn a_name_is_of_letters_digits_and_underscores() {
        let repository = RepositoryId::from_bits(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        let time = "2026-11-22T02:00:00Z".parse().expect("a valid time");
        let name = FreezeName::new(&repository, time, 7);
        assert_eq!(name.as_str(), "chsnap_12345678_20261122020000_00000007");
        assert_eq!(FreezeName::try_from(name.to_string()).expect("reads back"), name);
    }

    #[test]
    fn an_id_that_could_lead_elsewhere_is_refused() {
        let id = RepositoryId::from_bits(7);
        assert_eq!(RepositoryId::try_from(id.to_string()).expect("reads back"), id);
        let texts = ["", "../../../../../../../tmp/victim..", "x' , '", "0000000000000000000000000000000G"];
        for text in texts.map(str::to_owned).into_iter().chain(["0".repeat(33), "é".repeat(16)]) {
            assert!(RepositoryId::try_from(text.clone()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_refused() {
        for text in ["", "chsnap_../../etc", "other_1", "chsnap_a/b", "chsnap_a.b", "chsnap_a\n"] {
            assert!(FreezeName::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
