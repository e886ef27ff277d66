//! Locks of objects in a store.

use std::fmt;

use chrono::{DateTime, Utc};

/// How strict a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Some credentials may shorten or remove it.
    Governance,
    /// Nothing may shorten or remove it.
    Compliance,
}

impl LockMode {
    /// The mode in the words of S3, in capitals; `None` for any other word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.to_string() == text)
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        })
    }
}

/// A lock: until its end, the object cannot be deleted or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// How strict it is.
    pub mode: LockMode,
    /// Its end, by the store's clock.
    pub until: DateTime<Utc>,
}

/// The lock that a store gives to new objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultLock {
    /// None: the store knows no locks, or does not lock new objects by itself.
    None,
    /// The credentials may not read it.
    Unknown,
    /// The service has a retention of its own, which is not read.
    Unread,
    /// This one, for an object that is written now.
    Of(ObjectLock),
}
