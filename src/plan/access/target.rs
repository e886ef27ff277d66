//! The users, roles … of the target server.

use std::collections::BTreeMap;

use crate::plan::ObjectKind;

use super::entity::AccessEntity;

/// An entity of the server.
#[derive(Clone, Debug)]
pub struct LiveEntity {
    /// Its UUID, in lower case.
    pub id: String,
    /// Its definition, if its file is in the server's `access/` and readable.
    pub entity: Option<AccessEntity>,
}

/// The entities of one kind.
#[derive(Clone, Debug)]
pub enum LiveList {
    /// The entities by name; for a row policy the name is `name ON database.table`.
    Listed(BTreeMap<String, LiveEntity>),
    /// The server has no system table for them, or does not show it.
    Absent,
    /// They cannot be listed, for this reason.
    Unknown(String),
}

/// The entities of the server.
#[derive(Clone, Debug, Default)]
pub struct TargetAccess {
    /// The lists by kind; a kind without a list was not requested.
    pub lists: BTreeMap<ObjectKind, LiveList>,
}

impl TargetAccess {
    /// All listed entities, each with its kind and name.
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
