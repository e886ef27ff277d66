//! How thoroughly a snapshot is checked, and what can be wrong with it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much of a snapshot is checked; each level has all that is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The manifest and the list of parts by their digests; that every part and file exists, and no others; types,
    /// owners, modes.
    Structure,
    /// Every file's size too.
    Size,
    /// Every byte too.
    Data,
}

impl Level {
    /// The level's name: one lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Size => "size",
            Self::Data => "data",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The kind of damage of an entry in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// The snapshot's own records cannot be trusted: `manifest.json`, or the list of parts.
    Manifest,
    /// The entry does not exist.
    Missing,
    /// The entry exists, but no record mentions it.
    Extra,
    /// It is of another kind: a directory instead of a file, a symbolic link instead of a directory …
    Type,
    /// It has another size.
    Size,
    /// It has other bytes.
    Content,
    /// The system cannot read it.
    Unreadable,
}

impl DamageKind {
    /// The kind's name: one lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Size => "size",
            Self::Content => "content",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether bytes are lost: such a part cannot be a source for another snapshot.
    #[must_use]
    pub fn loses_bytes(self) -> bool {
        !matches!(self, Self::Extra)
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A difference from the record without a loss of bytes: a chown or a chmod of live files changes the inodes that
/// snapshots share with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Owner or group.
    Owner,
    /// Permission bits.
    Mode,
}

impl DriftKind {
    /// The kind's name: one lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Mode => "mode",
        }
    }
}

impl fmt::Display for DriftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
