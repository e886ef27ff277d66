//! Creates users, roles, quotas, policies and settings profiles.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{AccessAction, AccessKept, AccessPlan, EntityPlan, ObjectKind};
use crate::server::ServerError;

use super::context::RestoreContext;
use super::statements::Statements;

/// The outcome for a user, role ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessState {
    /// It was created.
    Made,
    /// It was created and replaced the existing one.
    Replaced,
    /// It was created without some of its properties: see its reason.
    Incomplete,
    /// It existed already, and was left as it is.
    Present,
    /// It existed already, was left as it is, and differs from the snapshot's.
    Differs,
    /// The server does not have it.
    Lacking,
    /// It is unknown whether the server has it: see its reason.
    Unknown,
    /// It was not created, as planned: see its reason.
    Refused,
    /// The server failed to create it: see its reason.
    Failed,
}

/// A user, role, quota, policy or settings profile of the snapshot.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct AccessReport {
    /// Its kind: `user`, `row policy` ….
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The outcome.
    pub state: AccessState,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AccessReport {
    /// The warning about one that was not created completely.
    pub(super) fn warning(&self) -> Option<Warning> {
        let what = match self.state {
            AccessState::Failed | AccessState::Refused => "was not made",
            AccessState::Incomplete => "was made without some of its properties",
            _ => return None,
        };
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        Some(Warning::new(WarningKind::AccessNotMade, format!("{} {} {what}: {reason}", self.kind, self.name)))
    }
}

/// A refusal by the server that concerns one entity.
#[derive(Default)]
struct EntityRefusal {
    creation: Option<String>,
    changes: Vec<String>,
}

type Refusals = BTreeMap<(ObjectKind, String), EntityRefusal>;

/// Sends the statements of a plan. A refusal affects only the entity that it concerns.
///
/// # Errors
/// If the server does not answer.
pub(super) fn make_access(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    plan: &AccessPlan,
) -> Result<Vec<AccessReport>, OpError> {
    let mut refusals = Refusals::new();
    for step in &plan.steps {
        context.check_interrupted()?;
        let refusal = refusals.entry((step.kind, step.name.clone())).or_default();
        if refusal.creation.is_some() {
            continue;
        }
        let label = format!("{} {}", step.kind, step.name);
        match statements.run_definition(&label, &step.statement, &[], &step.secrets) {
            Ok(()) => {}
            Err(error @ ServerError::Exception { .. }) => {
                let reason = crate::monitor::chain(&error);
                if step.is_creation {
                    refusal.creation = Some(reason);
                } else {
                    refusal.changes.push(reason);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reports(plan, &refusals))
}

/// The outcome for each entity if nothing is created.
pub(super) fn planned_access(plan: &AccessPlan) -> Vec<AccessReport> {
    reports(plan, &Refusals::new())
}

fn reports(plan: &AccessPlan, refusals: &Refusals) -> Vec<AccessReport> {
    let none = EntityRefusal::default();
    let report = |entity: &EntityPlan| {
        let refusal = refusals.get(&(entity.kind, entity.name.clone())).unwrap_or(&none);
        let made = |state| match (&refusal.creation, refusal.changes.first()) {
            (Some(reason), _) => (AccessState::Failed, Some(reason.clone())),
            (None, Some(reason)) => (AccessState::Incomplete, Some(reason.clone())),
            (None, None) if !entity.lacks.is_empty() => (AccessState::Incomplete, Some(entity.lacks.join("; "))),
            (None, None) => (state, None),
        };
        let (state, reason) = match &entity.action {
            AccessAction::Make | AccessAction::Complete => made(AccessState::Made),
            AccessAction::Replace => made(AccessState::Replaced),
            AccessAction::Keep(AccessKept::Differs) => (AccessState::Differs, None),
            AccessAction::Keep(_) => (AccessState::Present, None),
            AccessAction::Lacking => (AccessState::Lacking, None),
            AccessAction::Unknown(reason) => (AccessState::Unknown, Some(reason.clone())),
            AccessAction::Refuse(reason) => (AccessState::Refused, Some(reason.clone())),
        };
        AccessReport { kind: entity.kind.to_string(), name: entity.name.clone(), state, reason }
    };
    plan.entities.iter().map(report).collect()
}
