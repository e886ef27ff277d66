//! The statements of many entities, in an order that a server accepts.

use std::collections::BTreeSet;

use crate::plan::{Existing, ObjectKind};

use super::entity::{AccessEntity, rank};
use super::names::AccessNames;

/// One statement.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessStep {
    /// The kind of its entity.
    pub kind: ObjectKind,
    /// The name of its entity.
    pub name: String,
    /// Whether it creates the entity. Other statements change a created one.
    pub is_creation: bool,
    /// The statement on one line, with its secrets.
    pub statement: String,
    /// The statement with `'[HIDDEN]'` for every secret.
    pub masked: String,
    /// The hidden secrets, for removing them from messages.
    pub secrets: Vec<String>,
}

impl std::fmt::Debug for AccessStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked)
    }
}

/// Orders statements by their references. First come settings profiles, roles, users, quotas and policies, each after
/// those that it names; then clauses that name users and roles in a circle; then grants.
#[must_use]
pub fn sequence(entities: &[(&AccessEntity, Existing)], names: &AccessNames) -> Vec<AccessStep> {
    let mut pending: Vec<(&AccessEntity, Creation)> =
        entities.iter().map(|(entity, existing)| (*entity, Creation::new(entity, *existing, names))).collect();
    pending.sort_by_key(|(entity, _)| (rank(entity.kind()), entity.name().to_owned()));
    let mut left: BTreeSet<&str> = entities.iter().map(|(entity, _)| entity.id.as_str()).collect();
    let (mut steps, mut changes, mut grants) = (Vec::new(), Vec::new(), Vec::new());
    while !pending.is_empty() {
        // If entities refer to each other in a circle, the server decides on the first of them.
        let is_next = |creation: &Creation| creation.needs.iter().all(|id| !left.contains(id.as_str()));
        let next = pending.iter().position(|(_, creation)| is_next(creation)).unwrap_or(0);
        let (entity, creation) = pending.remove(next);
        left.remove(entity.id.as_str());
        changes.extend(creation.alter.map(|alter| change(entity, alter)));
        for grant in &entity.grants {
            let grant = names.resolve(grant);
            grants.push(AccessStep {
                secrets: grant.secrets(),
                masked: grant.masked(),
                ..change(entity, grant.create_with(Existing::Refused))
            });
        }
        steps.push(creation.step);
    }
    steps.into_iter().chain(changes).chain(grants).collect()
}

struct Creation {
    step: AccessStep,
    alter: Option<String>,
    /// UUIDs of the entities that must exist before.
    needs: BTreeSet<String>,
}

impl Creation {
    fn new(entity: &AccessEntity, existing: Existing, names: &AccessNames) -> Self {
        let (stored, alter) = names.split(&entity.statement);
        let needs = stored.references().into_iter().map(|reference| reference.id);
        let needs = needs.filter(|id| *id != entity.id).collect();
        let statement = names.resolve(&stored);
        let step = AccessStep {
            is_creation: true,
            masked: statement.masked(),
            secrets: statement.secrets(),
            ..change(entity, statement.create_with(existing))
        };
        Self { step, alter, needs }
    }
}

/// A step without secrets.
fn change(entity: &AccessEntity, statement: String) -> AccessStep {
    let (kind, name) = entity.key();
    AccessStep { kind, name, is_creation: false, masked: statement.clone(), statement, secrets: Vec::new() }
}
