//! What a person writes to name a snapshot: an id, an unambiguous prefix of one, `latest`, `latest~N`.

use std::str::FromStr;

use crate::model::SnapshotId;

use super::nearest::nearest;

/// A SNAPSHOT argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotReference {
    /// The N-th made before the newest; 0 is the newest.
    Latest(usize),
    /// An id or the beginning of one.
    Prefix(String),
}

/// A SNAPSHOT argument names no snapshot, or more than one.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The text can be no reference.
    #[error("{text:?} names no snapshot: write an id, the beginning of one, latest or latest~N")]
    Invalid {
        /// What was given.
        text: String,
    },
    /// No snapshot begins so.
    #[error("no snapshot {text:?}")]
    NotFound {
        /// What was given.
        text: String,
        /// The snapshot whose id is most like it, if one is.
        nearest: Option<SnapshotId>,
    },
    /// There is none at all.
    #[error("there are no snapshots yet")]
    None,
    /// There are fewer snapshots.
    #[error("latest~{back} goes further back than the {count} snapshots that there are")]
    TooFarBack {
        /// How far back was asked.
        back: usize,
        /// How many snapshots there are.
        count: usize,
    },
    /// More than one snapshot begins so.
    #[error("{text:?} is the beginning of {count} snapshots, {first} and {second} among them")]
    Ambiguous {
        /// What was given.
        text: String,
        /// How many snapshots begin so.
        count: usize,
        /// One of them.
        first: SnapshotId,
        /// Another one.
        second: SnapshotId,
    },
}

impl FromStr for SnapshotReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ReferenceError::Invalid { text: text.to_owned() };
        if let Some(rest) = text.strip_prefix("latest") {
            return match rest.strip_prefix('~') {
                None if rest.is_empty() => Ok(Self::Latest(0)),
                None => Err(invalid()),
                Some(back) => back.parse().map(Self::Latest).map_err(|_| invalid()),
            };
        }
        let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'T' | b'Z');
        if text.is_empty() || !text.bytes().all(plain) {
            return Err(invalid());
        }
        Ok(Self::Prefix(text.to_owned()))
    }
}

impl SnapshotReference {
    /// Finds the snapshot among `ids`, which stand in the order in which they were made, the newest last.
    ///
    /// # Errors
    /// If the reference names none or more than one of them.
    pub fn resolve(&self, ids: &[SnapshotId]) -> Result<SnapshotId, ReferenceError> {
        match self {
            Self::Latest(_) if ids.is_empty() => Err(ReferenceError::None),
            Self::Latest(back) => {
                ids.iter().rev().nth(*back).copied().ok_or(ReferenceError::TooFarBack { back: *back, count: ids.len() })
            }
            Self::Prefix(text) => {
                let matching: Vec<SnapshotId> =
                    ids.iter().copied().filter(|id| id.to_string().starts_with(text.as_str())).collect();
                let exact = matching.iter().copied().find(|id| id.to_string() == *text);
                match (exact, matching.as_slice()) {
                    (Some(id), _) => Ok(id),
                    (None, [id]) => Ok(*id),
                    (None, []) => Err(ReferenceError::NotFound { text: text.clone(), nearest: nearest_id(text, ids) }),
                    (None, [first, second, ..]) => Err(ReferenceError::Ambiguous {
                        text: text.clone(),
                        count: matching.len(),
                        first: *first,
                        second: *second,
                    }),
                }
            }
        }
    }
}

fn nearest_id(text: &str, ids: &[SnapshotId]) -> Option<SnapshotId> {
    // A beginning that fits none is held against as much of each id.
    let beginning = |id: &SnapshotId| id.to_string().chars().take(text.chars().count().max(4)).collect::<String>();
    let found = nearest(text, ids.iter().map(beginning))?;
    ids.iter().rev().find(|id| beginning(id) == found).copied()
}

#[cfg(test)]
mod tests {
    use super::{ReferenceError, SnapshotReference};
    use crate::model::SnapshotId;

    fn ids() -> Vec<SnapshotId> {
        ["2026-11-21T020000Z", "2026-11-22T020000Z", "2026-11-22T020000Z-2", "2026-11-20T020000Z"]
            .map(|text| text.parse().expect("a valid id"))
            .to_vec()
    }

    fn resolve(text: &str) -> Result<String, ReferenceError> {
        text.parse::<SnapshotReference>()?.resolve(&ids()).map(|id| id.to_string())
    }

    #[test]
    fn latest_is_the_one_made_last_whatever_its_date() {
        assert_eq!(resolve("latest").expect("found"), "2026-11-20T020000Z");
        assert_eq!(resolve("latest~3").expect("found"), "2026-11-21T020000Z");
        assert!(matches!(resolve("latest~4"), Err(ReferenceError::TooFarBack { .. })));
    }

    #[test]
    fn a_prefix_must_name_one_and_a_whole_id_does() {
        assert_eq!(resolve("2026-11-21").expect("found"), "2026-11-21T020000Z");
        assert_eq!(resolve("2026-11-22T020000Z").expect("found"), "2026-11-22T020000Z");
        assert!(matches!(resolve("2026-11-22"), Err(ReferenceError::Ambiguous { count: 2, .. })));
        assert!(matches!(resolve("2031"), Err(ReferenceError::NotFound { .. })));
        let nearest = |text: &str| match resolve(text) {
            Err(ReferenceError::NotFound { nearest, .. }) => nearest.map(|id| id.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest("2026-11-31T020000Z").as_deref(), Some("2026-11-21T020000Z"));
        assert_eq!(nearest("7"), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "../x", "latest~", "latest~-1", "latestx", "2026/11", "newest"] {
            assert!(matches!(resolve(text), Err(ReferenceError::Invalid { .. })), "{text}");
        }
    }
}
