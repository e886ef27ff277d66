//! Decides what becomes of each user, role … of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Existing, ObjectKind};

use super::entity::{AccessEntity, SourceAccess, UnreadableAccess};
use super::names::AccessNames;
use super::replaced::{Replacements, replacements};
use super::sequence::{AccessStep, sequence};
use super::target::{LiveList, TargetAccess};

/// What is done with users, roles … of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessOptions {
    /// Nothing: they are not looked at.
    #[default]
    Nothing,
    /// Those that the server lacks are named.
    Names,
    /// Those are made.
    Missing,
    /// The same, and those that differ are replaced.
    All,
}

impl AccessOptions {
    /// Whether anything is made.
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
    /// It was not compared: that was not asked for, or its definition on the server cannot be read here.
    NotCompared,
}

/// What is done with an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessAction {
    /// It is made.
    Make,
    /// It takes the place of the one that is there.
    Replace,
    /// The server has it, and it stays.
    Keep(AccessKept),
    /// The server lacks it; it is only named.
    Lacking,
    /// Whether the server has it cannot be told, for this reason; it is only named.
    Unknown(String),
    /// It is neither made nor replaced, for this reason, and nothing of its file is sent.
    Refuse(String),
}

/// One entity of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityPlan {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What is done.
    pub action: AccessAction,
}

/// What becomes of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPlan {
    /// The entities of the snapshot.
    pub entities: Vec<EntityPlan>,
    /// The statements that are sent, in their order.
    pub steps: Vec<AccessStep>,
    /// Files of the snapshot that nothing is made of.
    pub unreadable: Vec<UnreadableAccess>,
}

impl AccessPlan {
    /// Entities that are not made, and files that nothing is made of, as sentences.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let refused = self.entities.iter().filter_map(|entity| match &entity.action {
            AccessAction::Refuse(reason) => Some(format!("{} {} was not made: {reason}", entity.kind, entity.name)),
            _ => None,
        });
        let files = self.unreadable.iter().map(ToString::to_string);
        refused.chain(files).collect()
    }
}

/// Makes the plan.
#[must_use]
pub fn plan_access(source: &SourceAccess, target: &TargetAccess, options: AccessOptions) -> AccessPlan {
    if options == AccessOptions::Nothing {
        return AccessPlan::default();
    }
    let names = AccessNames::new(&source.entities).with_target(target);
    let refused = refused(source, target, &names);
    let live_names = AccessNames::default().with_target(target);
    let planner = Planner { source, target, options, names, live_names, refused };
    let replacements = planner.replacements();
    let entities: Vec<EntityPlan> = source
        .entities
        .iter()
        .map(|entity| {
            let (kind, name) = entity.key();
            EntityPlan { action: planner.action(entity, &replacements), kind, name }
        })
        .collect();
    let chosen: Vec<(&AccessEntity, Existing)> = source
        .entities
        .iter()
        .zip(&entities)
        .filter_map(|(entity, plan)| match plan.action {
            AccessAction::Make => Some((entity, Existing::Stays)),
            AccessAction::Replace => Some((entity, Existing::Replaced)),
            _ => None,
        })
        .collect();
    let steps = sequence(&chosen, &planner.names);
    let unreadable = if options.makes() { source.unreadable.clone() } else { Vec::new() };
    AccessPlan { entities, steps, unreadable }
}

struct Planner<'a> {
    source: &'a SourceAccess,
    target: &'a TargetAccess,
    options: AccessOptions,
    names: AccessNames,
    /// The same by what stands on the server.
    live_names: AccessNames,
    /// Why entities cannot be made, by kind and name.
    refused: BTreeMap<(ObjectKind, String), String>,
}

impl Planner<'_> {
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
        let differing = self.source.entities.iter().filter(|entity| self.compare(entity) == AccessKept::Differs);
        let differing = differing.map(AccessEntity::key).filter(|key| usable.contains(key)).collect();
        replacements(&differing, &usable, self.target)
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

/// Of a kind that the server does not list.
const ABSENT: &str = "the server keeps no such thing in SQL, or does not show it to this user";

/// Why entities cannot be made: what they refer to is not known, or cannot be made itself.
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
            Some(LiveList::Listed(_)) => names
                .unresolved(entity)
                .first()
                .map(|id| format!("it refers to {id}, of which neither the snapshot nor the server has the name")),
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
            let lacking = names.referred(entity).iter().find(lacks).map(|other| (*other).clone());
            if let (Some((kind, name)), false) = (lacking, refused.contains_key(&entity.key())) {
                refused.insert(entity.key(), format!("it refers to {kind} {name}, which is not made"));
            }
        }
        if refused.len() == before {
            return refused;
        }
    }
}
