//! The statements of many entities, in an order in which a server takes them.

use std::collections::BTreeSet;

use crate::plan::{Existing, ObjectKind};

use super::entity::{AccessEntity, rank};
use super::names::AccessNames;

/// One statement.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessStep {
    /// What it is about.
    pub kind: ObjectKind,
    /// The name of that.
    pub name: String,
    /// Whether it makes it. The others change what is made.
    pub is_creation: bool,
    /// It, on one line, with its secrets.
    pub statement: String,
    /// The same with `'[HIDDEN]'` for every secret.
    pub masked: String,
    /// What is hidden there, for messages to be cleansed of.
    pub secrets: Vec<String>,
}

impl std::fmt::Debug for AccessStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked)
    }
}

/// Orders by what refers to what: settings profiles, roles, users, quotas and policies first, each behind those that it
/// names; then the clauses that name users and roles in a circle; then grants.
#[must_use]
pub fn sequence(entities: &[(&AccessEntity, Existing)], names: &AccessNames) -> Vec<AccessStep> {
    let mut pending: Vec<(&AccessEntity, Creation)> =
        entities.iter().map(|(entity, existing)| (*entity, Creation::new(entity, *existing, names))).collect();
    pending.sort_by_key(|(entity, _)| (rank(entity.kind()), entity.name().to_owned()));
    let mut left: BTreeSet<&str> = entities.iter().map(|(entity, _)| entity.id.as_str()).collect();
    let (mut steps, mut changes, mut grants) = (Vec::new(), Vec::new(), Vec::new());
    while !pending.is_empty() {
        // Where entities refer to each other in a circle, the server has the last word on the first of them.
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
    /// UUIDs of what has to be there before.
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
