//! The users, roles … of the server that is restored into.

use std::collections::BTreeMap;

use crate::plan::ObjectKind;

use super::entity::AccessEntity;

/// An entity of the server.
#[derive(Clone, Debug)]
pub struct LiveEntity {
    /// Its UUID, in small letters.
    pub id: String,
    /// Its definition, where its file stands in the server's `access/` and can be read.
    pub entity: Option<AccessEntity>,
}

/// The entities of one kind.
#[derive(Clone, Debug)]
pub enum LiveList {
    /// These, by name; that of a row policy is `name ON database.table`.
    Listed(BTreeMap<String, LiveEntity>),
    /// The server has no system table of them, or does not show it.
    Absent,
    /// They cannot be listed, for this reason.
    Unknown(String),
}

/// What the server has.
#[derive(Clone, Debug, Default)]
pub struct TargetAccess {
    /// By kind; one that is not in it was not asked for.
    pub lists: BTreeMap<ObjectKind, LiveList>,
}

impl TargetAccess {
    /// All entities that are listed, each with its kind and name.
    pub fn entities(&self) -> impl Iterator<Item = (ObjectKind, &str, &LiveEntity)> {
        self.lists.iter().flat_map(|(kind, list)| {
            let listed = match list {
                LiveList::Listed(listed) => Some(listed),
                LiveList::Absent | LiveList::Unknown(_) => None,
            };
            listed.into_iter().flatten().map(|(name, entity)| (*kind, name.as_str(), entity))
        })
    }

    /// The entity of this kind and name.
    #[must_use]
    pub fn find(&self, kind: ObjectKind, name: &str) -> Option<&LiveEntity> {
        match self.lists.get(&kind) {
            Some(LiveList::Listed(listed)) => listed.get(name),
            _ => None,
        }
    }
}
