//! Makes users, roles, quotas, policies and settings profiles.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{AccessAction, AccessKept, AccessPlan, EntityPlan, ObjectKind};
use crate::server::ServerError;

use super::context::Context;
use super::statements::Statements;

/// What became of a user, role ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessState {
    /// It was made.
    Made,
    /// It was made in the place of the one that was there.
    Replaced,
    /// It was made without a part of what it had: see its reason.
    Incomplete,
    /// It was there already, and stays.
    Present,
    /// The same, and it differs from the snapshot's.
    Differs,
    /// The server lacks it.
    Lacking,
    /// Whether the server has it is not known: see its reason.
    Unknown,
    /// It was not made, as the plan said: see its reason.
    Refused,
    /// The server did not make it: see its reason.
    Failed,
}

/// A user, role, quota, policy or settings profile of the snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct AccessReport {
    /// What it is: `user`, `row policy` ….
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub state: AccessState,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AccessReport {
    /// A sentence for one of which not everything was made.
    pub(super) fn warning(&self) -> Option<Warning> {
        let what = match self.state {
            AccessState::Failed | AccessState::Refused => "was not made",
            AccessState::Incomplete => "was made without a part of what it had",
            _ => return None,
        };
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        Some(Warning::new(WarningKind::AccessNotMade, format!("{} {} {what}: {reason}", self.kind, self.name)))
    }
}

/// What the server refused of one.
#[derive(Default)]
struct Refusal {
    creation: Option<String>,
    changes: Vec<String>,
}

type Refusals = BTreeMap<(ObjectKind, String), Refusal>;

/// Sends the statements of a plan. What the server refuses of one costs that one alone.
///
/// # Errors
/// If the server does not answer.
pub(super) fn make_access(
    context: &Context<'_>,
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

/// What becomes of each where nothing is made.
pub(super) fn planned_access(plan: &AccessPlan) -> Vec<AccessReport> {
    reports(plan, &Refusals::new())
}

fn reports(plan: &AccessPlan, refusals: &Refusals) -> Vec<AccessReport> {
    let none = Refusal::default();
    let report = |entity: &EntityPlan| {
        let refusal = refusals.get(&(entity.kind, entity.name.clone())).unwrap_or(&none);
        let made = |state| match (&refusal.creation, refusal.changes.first()) {
            (Some(reason), _) => (AccessState::Failed, Some(reason.clone())),
            (None, Some(reason)) => (AccessState::Incomplete, Some(reason.clone())),
            (None, None) => (state, None),
        };
        let (state, reason) = match &entity.action {
            AccessAction::Make => made(AccessState::Made),
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
