//! The ways to name a snapshot: an id, an unambiguous prefix of one, a label, `latest`, `latest~N`.

use std::str::FromStr;

use crate::model::SnapshotId;

use super::nearest::nearest;

/// A SNAPSHOT argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotReference {
    /// The N-th made before the newest; 0 is the newest.
    Latest(usize),
    /// A complete id. It matches only itself.
    Id(SnapshotId),
    /// The beginning of an id.
    Prefix(String),
    /// The label of exactly one snapshot.
    Name(String),
}

/// A candidate snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedSnapshot<'a> {
    /// Its id.
    pub id: SnapshotId,
    /// Its label, if it has one.
    pub name: Option<&'a str>,
}

/// A SNAPSHOT argument matches no snapshot, or more than one.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The text cannot be a reference.
    #[error("{text:?} names no snapshot: write an id, the beginning of one, a name, latest or latest~N")]
    Invalid {
        /// The given text.
        text: String,
    },
    /// No snapshot has this id.
    #[error("no snapshot {text:?}")]
    NotFound {
        /// The given text.
        text: String,
        /// The most similar id, if one is similar enough.
        nearest: Option<SnapshotId>,
    },
    /// No snapshot has this label.
    #[error("no snapshot has the name {text:?}")]
    NoSuchName {
        /// The given text.
        text: String,
        /// The most similar label, if one is similar enough.
        nearest: Option<String>,
    },
    /// The snapshot is not in the trash, and is there.
    #[error("the snapshot {id} is not in the trash: it was not removed, or is back already")]
    NotRemoved {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The snapshot was removed.
    #[error("the snapshot {id} is in the trash")]
    InTrash {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The repository has no snapshots.
    #[error("there are no snapshots yet")]
    None,
    /// The repository has too few snapshots.
    #[error("latest~{back} goes further back than the oldest snapshot; there are {count}")]
    TooFarBack {
        /// The requested distance.
        back: usize,
        /// The number of snapshots.
        count: usize,
    },
    /// More than one snapshot id begins with this text.
    #[error("{text:?} is the beginning of {count} snapshots, {first} and {second} among them")]
    Ambiguous {
        /// The given text.
        text: String,
        /// The number of such snapshots.
        count: usize,
        /// One of them.
        first: SnapshotId,
        /// Another one.
        second: SnapshotId,
    },
    /// More than one snapshot has this label.
    #[error("{text:?} is the name of {} snapshots: {}", .ids.len(), listed(.ids))]
    AmbiguousName {
        /// The given text.
        text: String,
        /// The snapshots, the oldest first.
        ids: Vec<SnapshotId>,
    },
}

/// The number of ids that are listed, the newest.
const LISTED: usize = 10;

fn listed(ids: &[SnapshotId]) -> String {
    let newest: Vec<String> = ids.iter().rev().take(LISTED).rev().map(ToString::to_string).collect();
    let older = if ids.len() > LISTED { "… " } else { "" };
    format!("{older}{}", newest.join(", "))
}

/// Whether an id can begin with this text.
fn begins_an_id(text: &str) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-ddTddddddZ-";
    let is_as = |(byte, shape): (u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == *shape };
    let (head, number) = text.split_at_checked(SHAPE.len()).unwrap_or((text, ""));
    !text.is_empty() && head.bytes().zip(SHAPE).all(is_as) && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The rest of a text that is `latest` or begins with `latest~`: empty, or the text after the tilde.
fn latest(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("latest")?;
    if rest.is_empty() { Some("0") } else { rest.strip_prefix('~') }
}

/// Whether a label could be mistaken for another way to name a snapshot: for `latest`, an id, or a prefix of one.
#[must_use]
pub fn is_reserved_name(text: &str) -> bool {
    latest(text).is_some() || begins_an_id(text)
}

impl FromStr for SnapshotReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ReferenceError::Invalid { text: text.to_owned() };
        match latest(text) {
            Some(back) => return back.parse().map(Self::Latest).map_err(|_| invalid()),
            None if text.is_empty() => return Err(invalid()),
            None => {}
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        Ok(if begins_an_id(text) { Self::Prefix(text.to_owned()) } else { Self::Name(text.to_owned()) })
    }
}

impl SnapshotReference {
    /// Finds the snapshot among these candidates, which are in the order in which they were made, the newest last.
    ///
    /// # Errors
    /// If the reference matches none or more than one of them.
    pub fn resolve(&self, known: &[NamedSnapshot<'_>]) -> Result<SnapshotId, ReferenceError> {
        let matching = |is_meant: &dyn Fn(&NamedSnapshot<'_>) -> bool| -> Vec<SnapshotId> {
            known.iter().filter(|known| is_meant(known)).map(|known| known.id).collect()
        };
        match self {
            Self::Latest(_) if known.is_empty() => Err(ReferenceError::None),
            Self::Latest(back) => {
                let found = known.iter().rev().nth(*back).map(|known| known.id);
                found.ok_or(ReferenceError::TooFarBack { back: *back, count: known.len() })
            }
            Self::Id(id) => match matching(&|known| known.id == *id).first() {
                Some(id) => Ok(*id),
                None => Err(not_found(&id.to_string(), known)),
            },
            Self::Prefix(text) => match matching(&|known| known.id.to_string().starts_with(text)).as_slice() {
                [] => Err(not_found(text, known)),
                [id] => Ok(*id),
                [first, second, ..] => Err(ReferenceError::Ambiguous {
                    text: text.clone(),
                    count: known.iter().filter(|known| known.id.to_string().starts_with(text)).count(),
                    first: *first,
                    second: *second,
                }),
            },
            Self::Name(text) => match matching(&|known| known.name == Some(text)).as_slice() {
                [] => Err(no_such_name(text, known)),
                [id] => Ok(*id),
                ids => Err(ReferenceError::AmbiguousName { text: text.clone(), ids: ids.to_vec() }),
            },
        }
    }
}

fn not_found(text: &str, known: &[NamedSnapshot<'_>]) -> ReferenceError {
    ReferenceError::NotFound { text: text.to_owned(), nearest: nearest_id(text, known) }
}

fn no_such_name(text: &str, known: &[NamedSnapshot<'_>]) -> ReferenceError {
    let names = known.iter().filter_map(|known| known.name).chain(["latest"]);
    ReferenceError::NoSuchName { text: text.to_owned(), nearest: nearest(text, names).map(ToOwned::to_owned) }
}

fn nearest_id(text: &str, known: &[NamedSnapshot<'_>]) -> Option<SnapshotId> {
    // A prefix that matches no id is compared with the beginning of each id.
    let beginning = |id: SnapshotId| id.to_string().chars().take(text.chars().count().max(4)).collect::<String>();
    let found = nearest(text, known.iter().map(|known| beginning(known.id)))?;
    known.iter().rev().map(|known| known.id).find(|id| beginning(*id) == found)
}

#[cfg(test)]
mod tests {
    use super::{NamedSnapshot, ReferenceError, SnapshotReference, is_reserved_name};

    const SNAPSHOTS: [(&str, Option<&str>); 4] = [
        ("2026-11-21T020000Z", Some("release")),
        ("2026-11-22T020000Z", Some("nightly")),
        ("2026-11-22T020000Z-2", Some("nightly")),
        ("2026-11-20T020000Z", None),
    ];

    fn resolve_without(gone: &str, text: &str) -> Result<String, ReferenceError> {
        let known = SNAPSHOTS.iter().filter(|(id, _)| *id != gone);
        let known: Vec<NamedSnapshot<'_>> =
            known.map(|(id, name)| NamedSnapshot { id: id.parse().expect("a valid id"), name: *name }).collect();
        text.parse::<SnapshotReference>()?.resolve(&known).map(|id| id.to_string())
    }

    fn resolve(text: &str) -> Result<String, ReferenceError> {
        resolve_without("", text)
    }

    #[test]
    fn latest_is_the_one_made_last_whatever_its_date() {
        assert_eq!(resolve("latest").expect("found"), "2026-11-20T020000Z");
        assert_eq!(resolve("latest~3").expect("found"), "2026-11-21T020000Z");
        assert!(matches!(resolve("latest~4"), Err(ReferenceError::TooFarBack { .. })));
    }

    #[test]
    fn a_beginning_must_name_one_and_a_complete_id_matches_itself_alone() {
        assert_eq!(resolve("2026-11-21").expect("found"), "2026-11-21T020000Z");
        assert_eq!(resolve("2026-11-22T020000Z").expect("found"), "2026-11-22T020000Z");
        assert!(matches!(resolve("2026-11-22"), Err(ReferenceError::Ambiguous { count: 2, .. })));
        assert!(matches!(resolve("2031"), Err(ReferenceError::NotFound { .. })));
        let gone = resolve_without("2026-11-22T020000Z", "2026-11-22T020000Z");
        assert!(matches!(gone, Err(ReferenceError::NotFound { .. })), "{gone:?}");
        assert_eq!(resolve("2026-11-22T020000Z-").expect("a beginning"), "2026-11-22T020000Z-2");
        let nearest = |text: &str| match resolve(text) {
            Err(ReferenceError::NotFound { nearest, .. }) => nearest.map(|id| id.to_string()),
            Err(ReferenceError::NoSuchName { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest("2026-11-31T020000Z").as_deref(), Some("2026-11-21T020000Z"));
        assert_eq!(nearest("7"), None);
        assert_eq!(nearest("releese").as_deref(), Some("release"));
    }

    #[test]
    fn a_name_that_one_snapshot_has_names_it() {
        assert_eq!(resolve("release").expect("found"), "2026-11-21T020000Z");
        let two = resolve("nightly").expect_err("two have it").to_string();
        assert!(two.contains("2026-11-22T020000Z, 2026-11-22T020000Z-2"), "{two}");
        for text in ["../x", "2026/11", "newest", "latestx", "1-2"] {
            assert!(matches!(resolve(text), Err(ReferenceError::NoSuchName { .. })), "{text}");
        }
        for text in ["latest", "latest~2", "latest~x", "2026", "7", "2026-11-22T020000Z-2"] {
            assert!(is_reserved_name(text), "{text}");
        }
        for text in ["nightly", "latest-good", "2026-11-22 before the upgrade", "26.9", "20261122"] {
            assert!(!is_reserved_name(text), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "latest~", "latest~-1"] {
            assert!(matches!(resolve(text), Err(ReferenceError::Invalid { .. })), "{text}");
        }
    }
}
