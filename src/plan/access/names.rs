//! Resolves the UUIDs of users, roles and settings profiles to names.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{AccessReference, ObjectKind, ObjectStatement, ReferenceTo};

use super::entity::AccessEntity;
use super::target::TargetAccess;

/// UUIDs that every server gives to the entities in its own `users.xml`: they are derived from kind and name alone.
/// Source: `UsersConfigParser` in ClickHouse's `src/Access/UsersConfigAccessStorage.cpp`.
const CONFIGURED: [(&str, ObjectKind, &str); 3] = [
    ("94309d50-4f52-5250-31bd-74fecac179db", ObjectKind::User, "default"),
    ("4bfbe653-9137-0ea6-b97d-dc391ec9a919", ObjectKind::SettingsProfile, "default"),
    ("d1659f3e-83fe-3845-f1be-5fada6046b67", ObjectKind::SettingsProfile, "readonly"),
];

/// Names of entities by their UUIDs.
#[derive(Clone, Debug, Default)]
pub struct AccessNames {
    by_id: BTreeMap<String, (ObjectKind, String)>,
    users: BTreeSet<String>,
}

impl AccessNames {
    /// The names in some files, and those that every server has.
    #[must_use]
    pub fn new(entities: &[AccessEntity]) -> Self {
        let mut names = Self::default();
        for (id, kind, name) in CONFIGURED {
            names.add(id, kind, name);
        }
        for entity in entities {
            names.add(&entity.id, entity.kind(), entity.name());
        }
        names
    }

    /// Adds the names of a server. For the same UUID, the name in the files takes precedence.
    #[must_use]
    pub fn with_target(mut self, target: &TargetAccess) -> Self {
        for (kind, name, entity) in target.entities() {
            if !self.by_id.contains_key(&entity.id) {
                self.add(&entity.id, kind, name);
            }
        }
        self
    }

    fn add(&mut self, id: &str, kind: ObjectKind, name: &str) {
        self.by_id.insert(id.to_owned(), (kind, name.to_owned()));
        if kind == ObjectKind::User {
            self.users.insert(name.to_owned());
        }
    }

    /// The entity that a reference means, if it is known and of a kind that may occur there.
    #[must_use]
    pub fn entity(&self, reference: &AccessReference) -> Option<&(ObjectKind, String)> {
        let known = self.by_id.get(&reference.id)?;
        let is_fitting = match reference.to {
            ReferenceTo::SettingsProfile => known.0 == ObjectKind::SettingsProfile,
            ReferenceTo::Role => known.0 == ObjectKind::Role,
            // A server looks a name up among users first.
            ReferenceTo::UserOrRole => match known.0 {
                ObjectKind::User => true,
                ObjectKind::Role => !self.users.contains(&known.1),
                _ => false,
            },
        };
        is_fitting.then_some(known)
    }

    /// A statement with names instead of UUIDs; unknown UUIDs stay.
    #[must_use]
    pub fn resolve(&self, statement: &ObjectStatement) -> ObjectStatement {
        statement.with_names(&|reference| self.entity(reference).map(|(_, name)| name.clone()))
    }

    /// A statement without the clause that names users and roles, and that clause, with names, on its own.
    pub(super) fn split(&self, statement: &ObjectStatement) -> (ObjectStatement, Option<String>) {
        statement.split(&|reference| self.entity(reference).map(|(_, name)| name.clone()))
    }

    /// The entities that a statement refers to.
    pub(super) fn referred<'a>(&'a self, statement: &ObjectStatement) -> BTreeSet<&'a (ObjectKind, String)> {
        statement.references().iter().filter_map(|reference| self.entity(reference)).collect()
    }

    /// The references of an entity that cannot be resolved.
    #[must_use]
    pub fn unresolved(&self, entity: &AccessEntity) -> BTreeSet<String> {
        let references = entity.statements().flat_map(ObjectStatement::references);
        references.filter(|reference| self.entity(reference).is_none()).map(|reference| reference.id).collect()
    }
}
