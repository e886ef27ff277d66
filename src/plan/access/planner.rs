//! Decides what to do with each user, role … of a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{AccessReference, Existing, ObjectKind, ObjectStatement};

use super::entity::{AccessEntity, SourceAccess, UnreadableAccess};
use super::names::AccessNames;
use super::replaced::{Replacements, replacements};
use super::sequence::{AccessStep, sequence};
use super::target::{LiveList, TargetAccess};

/// How to treat users, roles … of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessOptions {
    /// They are ignored.
    #[default]
    Nothing,
    /// The report names those that the server lacks.
    Names,
    /// Those that the server lacks are created.
    Missing,
    /// The same, and those that differ are replaced.
    All,
}

impl AccessOptions {
    /// Whether anything is created.
    #[must_use]
    pub fn makes(self) -> bool {
        matches!(self, Self::Missing | Self::All)
    }
}

/// How an entity that stays compares with the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKept {
    /// It is the same.
    Same,
    /// It differs.
    Differs,
    /// It was not compared: no comparison was requested, or its definition on the server cannot be read here.
    NotCompared,
}

/// The action for an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessAction {
    /// It is created.
    Make,
    /// It replaces the existing one.
    Replace,
    /// The server has it, and it stays.
    Keep(AccessKept),
    /// An interrupted restore was creating it, and it has some of its grants: it gets the others.
    Complete,
    /// The server lacks it; it is only named.
    Lacking,
    /// It is unknown, for this reason, whether the server has it; it is only named.
    Unknown(String),
    /// It is neither created nor replaced, for this reason, and nothing of its file is sent.
    Refuse(String),
}

/// One entity of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityPlan {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The action.
    pub action: AccessAction,
    /// Sentences about references of its grants to entities that neither exist nor are created: it does not get those
    /// grants.
    pub lacks: Vec<String>,
}

/// An entity that a restore was creating when it was interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunAccess {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for BegunAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The plan for all entities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPlan {
    /// The entities of the snapshot.
    pub entities: Vec<EntityPlan>,
    /// The statements to send, in order.
    pub steps: Vec<AccessStep>,
    /// Files of the snapshot that are not used.
    pub unreadable: Vec<UnreadableAccess>,
}

impl AccessPlan {
    /// Entities that are not created, and files that are not used, as sentences.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let refused = self.entities.iter().filter_map(|entity| match &entity.action {
            AccessAction::Refuse(reason) => Some(format!("{} {} was not made: {reason}", entity.kind, entity.name)),
            _ => None,
        });
        let is_made = |entity: &&EntityPlan| {
            matches!(entity.action, AccessAction::Make | AccessAction::Replace | AccessAction::Complete)
        };
        let lacking = self.entities.iter().filter(is_made).flat_map(|entity| {
            let (kind, name) = (entity.kind, &entity.name);
            entity
                .lacks
                .iter()
                .map(move |reason| format!("{kind} {name} is made without some of its properties: {reason}"))
        });
        let files = self.unreadable.iter().map(ToString::to_string);
        refused.chain(lacking).chain(files).collect()
    }

    /// The entities that its statements create or change.
    #[must_use]
    pub fn begins(&self) -> Vec<BegunAccess> {
        let mut begun: Vec<BegunAccess> = Vec::new();
        for step in &self.steps {
            if !begun.iter().any(|one| one.kind == step.kind && one.name == step.name) {
                begun.push(BegunAccess { kind: step.kind, name: step.name.clone() });
            }
        }
        begun
    }
}

/// Makes the plan. `begun` are the entities that interrupted restores were creating.
#[must_use]
pub fn plan_access(
    source: &SourceAccess,
    target: &TargetAccess,
    options: AccessOptions,
    begun: &[BegunAccess],
) -> AccessPlan {
    if options == AccessOptions::Nothing {
        return AccessPlan::default();
    }
    let names = AccessNames::new(&source.entities).with_target(target);
    let refused = refused(source, target, &names);
    let (source, lacks) = without_lacking(source, target, (&names, &refused));
    let source = &source;
    let live_names = AccessNames::default().with_target(target);
    let planner = AccessPlanner { source, target, options, names, live_names, refused, begun };
    let replacements = planner.replacements();
    let entities: Vec<EntityPlan> = source
        .entities
        .iter()
        .zip(lacks)
        .map(|(entity, lacks)| {
            let (kind, name) = entity.key();
            EntityPlan { action: planner.action(entity, &replacements), kind, name, lacks }
        })
        .collect();
    let chosen: Vec<(&AccessEntity, Existing)> = source
        .entities
        .iter()
        .zip(&entities)
        .filter_map(|(entity, plan)| match plan.action {
            AccessAction::Make | AccessAction::Complete => Some((entity, Existing::Stays)),
            AccessAction::Replace => Some((entity, Existing::Replaced)),
            _ => None,
        })
        .collect();
    let steps = sequence(&chosen, &planner.names);
    let unreadable = if options.makes() { source.unreadable.clone() } else { Vec::new() };
    AccessPlan { entities, steps, unreadable }
}

struct AccessPlanner<'a> {
    source: &'a SourceAccess,
    target: &'a TargetAccess,
    options: AccessOptions,
    names: AccessNames,
    /// The same, from the entities of the server.
    live_names: AccessNames,
    /// Why entities cannot be created, by kind and name.
    refused: BTreeMap<(ObjectKind, String), String>,
    begun: &'a [BegunAccess],
}

impl AccessPlanner<'_> {
    fn action(&self, entity: &AccessEntity, replacements: &Replacements) -> AccessAction {
        let key = entity.key();
        let is_there = match self.target.lists.get(&key.0) {
            Some(LiveList::Listed(_)) => self.target.find(key.0, &key.1).is_some(),
            Some(LiveList::Unknown(reason)) if !self.options.makes() => return AccessAction::Unknown(reason.clone()),
            None | Some(LiveList::Absent) if !self.options.makes() => return AccessAction::Unknown(ABSENT.to_owned()),
            _ => false,
        };
        if !self.options.makes() {
            return if is_there { AccessAction::Keep(AccessKept::NotCompared) } else { AccessAction::Lacking };
        }
        let refused = self.refused.get(&key).cloned().map(AccessAction::Refuse);
        if !is_there {
            return refused.unwrap_or(AccessAction::Make);
        }
        if refused.is_none() && self.is_begun(entity) {
            return AccessAction::Complete;
        }
        let kept = self.compare(entity);
        if self.options == AccessOptions::Missing {
            return AccessAction::Keep(kept);
        }
        match kept {
            AccessKept::Differs if refused.is_some() => refused.unwrap_or(AccessAction::Keep(kept)),
            AccessKept::NotCompared => {
                AccessAction::Refuse("it stays: its definition on the server cannot be read here".to_owned())
            }
            _ => match replacements.blocked.get(&key) {
                Some((kind, name)) => AccessAction::Refuse(format!(
                    "it stays: {kind} {name} of the server refers to it, and would lose it if it were replaced"
                )),
                None if replacements.replaced.contains(&key) => AccessAction::Replace,
                None => AccessAction::Keep(kept),
            },
        }
    }

    fn replacements(&self) -> Replacements {
        if self.options != AccessOptions::All {
            return Replacements::default();
        }
        let usable: BTreeSet<(ObjectKind, String)> =
            self.source.entities.iter().map(AccessEntity::key).filter(|key| !self.refused.contains_key(key)).collect();
        let differs = |entity: &&AccessEntity| self.compare(entity) == AccessKept::Differs && !self.is_begun(entity);
        let differing = self.source.entities.iter().filter(differs);
        let differing = differing.map(AccessEntity::key).filter(|key| usable.contains(key)).collect();
        replacements(&differing, &usable, self.target)
    }

    /// Whether an interrupted restore was creating this entity of the server: it equals the snapshot's except for
    /// grants, and for the users and roles that it applies to, which have not been sent yet.
    fn is_begun(&self, entity: &AccessEntity) -> bool {
        let (kind, name) = entity.key();
        let live = self.target.find(kind, &name).and_then(|live| live.entity.as_ref());
        let Some(live) = live.filter(|_| self.begun.iter().any(|one| one.kind == kind && one.name == name)) else {
            return false;
        };
        let own = |entity: &AccessEntity, names: &AccessNames| {
            names.resolve(&names.split(&entity.statement).0).create_with(Existing::Refused)
        };
        let later = |entity: &AccessEntity, names: &AccessNames| -> BTreeSet<String> {
            let grants = entity.grants.iter().map(|one| names.resolve(one).create_with(Existing::Refused));
            grants.chain(names.split(&entity.statement).1).collect()
        };
        let (stored, there) = (later(entity, &self.names), later(live, &self.live_names));
        own(entity, &self.names) == own(live, &self.live_names) && there.is_subset(&stored) && there != stored
    }

    fn compare(&self, entity: &AccessEntity) -> AccessKept {
        let live = self.target.find(entity.kind(), entity.name()).and_then(|live| live.entity.as_ref());
        let Some(live) = live else { return AccessKept::NotCompared };
        let text = |entity: &AccessEntity, names: &AccessNames| -> BTreeSet<String> {
            entity.statements().map(|one| names.resolve(one).create_with(Existing::Refused)).collect()
        };
        let is_same = text(entity, &self.names) == text(live, &self.live_names);
        if is_same { AccessKept::Same } else { AccessKept::Differs }
    }
}

/// The reason for a kind that the server does not list.
const ABSENT: &str = "the server keeps no entities of this kind in SQL, or does not show them to this user";

/// The entities without grants whose references exist nowhere, and for each a sentence about every such reference.
fn without_lacking(
    source: &SourceAccess,
    target: &TargetAccess,
    (names, refused): (&AccessNames, &BTreeMap<(ObjectKind, String), String>),
) -> (SourceAccess, Vec<Vec<String>>) {
    let lacking = |reference: &AccessReference| match names.entity(reference) {
        None => Some(unknown(&reference.id)),
        Some(key) if target.find(key.0, &key.1).is_none() && refused.contains_key(key) => Some(not_made(key)),
        Some(_) => None,
    };
    let entities = source.entities.iter().map(|entity| entity.without_references(&|one| lacking(one).is_some()));
    let lacks = source.entities.iter().map(|entity| {
        let references = entity.grants.iter().flat_map(ObjectStatement::references);
        let sentences: BTreeSet<String> = references.filter_map(|one| lacking(&one)).collect();
        sentences.into_iter().collect()
    });
    let reduced = SourceAccess { entities: entities.collect(), unreadable: source.unreadable.clone() };
    (reduced, lacks.collect())
}

fn unknown(id: &str) -> String {
    format!("it refers to {id}, of which neither the snapshot nor the server has the name")
}

fn not_made((kind, name): &(ObjectKind, String)) -> String {
    format!("it refers to {kind} {name}, which is not made")
}

/// Why entities cannot be created: a reference in the creating statement is unknown, or means an entity that cannot be
/// created itself. Without that reference a policy or a user could allow more than before; without a grant a user only
/// has fewer rights.
fn refused(
    source: &SourceAccess,
    target: &TargetAccess,
    names: &AccessNames,
) -> BTreeMap<(ObjectKind, String), String> {
    let mut refused = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for entity in &source.entities {
        let key = entity.key();
        let reason = match target.lists.get(&key.0) {
            None | Some(LiveList::Absent) => Some(ABSENT.to_owned()),
            Some(LiveList::Unknown(reason)) => Some(format!("whether the server has it is not known: {reason}")),
            Some(LiveList::Listed(_)) => {
                let mut references = entity.statement.references().into_iter();
                references.find(|reference| names.entity(reference).is_none()).map(|reference| unknown(&reference.id))
            }
        };
        let reason =
            if seen.insert(key.clone()) { reason } else { Some("two files of the snapshot hold it".to_owned()) };
        if let Some(reason) = reason {
            refused.insert(key, reason);
        }
    }
    loop {
        let before = refused.len();
        for entity in &source.entities {
            let lacks = |other: &&&(ObjectKind, String)| {
                target.find(other.0, &other.1).is_none() && refused.contains_key(**other)
            };
            let lacking = names.referred(&entity.statement).iter().find(lacks).map(|other| (*other).clone());
            if let (Some(other), false) = (lacking, refused.contains_key(&entity.key())) {
                refused.insert(entity.key(), not_made(&other));
            }
        }
        if refused.len() == before {
            return refused;
        }
    }
}
