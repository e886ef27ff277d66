//! What attaching and filling tables have in common.

use std::collections::BTreeMap;

use crate::model::TableName;
use crate::plan::{Definition, RestorePlan, TablePlan, Verb};
use crate::server::{code, sql};

use super::context::Context;
use super::described::DescribedDisks;
use super::job::Job;
use super::place::PlacedTable;
use super::refused::Refused;
use super::staging::Staging;
use super::statements::Statements;

/// What attaching works with.
pub(super) struct Attaching<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) plan: &'a RestorePlan,
    pub(super) jobs: &'a BTreeMap<TableName, Job<'a>>,
    pub(super) placed: &'a BTreeMap<TableName, PlacedTable>,
    pub(super) staging: &'a Staging,
    pub(super) statements: &'a Statements<'a>,
    /// Settings under which a server takes any definition that another one took.
    pub(super) settings: &'a [(String, String)],
    /// Databases that could not be made, with the reason.
    pub(super) missing_databases: &'a BTreeMap<String, String>,
    /// The disks that definitions describe themselves.
    pub(super) described: &'a DescribedDisks,
}

impl Attaching<'_> {
    /// The settings as a request takes them.
    pub(super) fn settings(&self) -> Vec<(&str, String)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
    }
}

/// Runs a definition under this name.
pub(super) fn run_definition(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    name: &TableName,
    (verb, definition): (Verb, &Definition),
) -> Result<(), Refused> {
    let uuids = (plan.uuid.as_ref().or(plan.statement_uuid.as_ref()), plan.inner_uuid.as_ref());
    let statement = definition.statement(verb, &sql::quote_table(name), uuids, &attaching.plan.mapping);
    let (label, secrets) = (format!("the definition of {}", plan.from), definition.secrets());
    match attaching.statements.run_definition(&label, &statement, &attaching.settings(), &secrets) {
        // A profile can forbid single settings: then the definition is tried with its own.
        Err(error) if error.code().is_some_and(|code| code::SETTING_REFUSED.contains(&code)) => {
            attaching.statements.run_definition(&label, &statement, &[], &secrets).map_err(Refused::definition)
        }
        result => result.map_err(Refused::definition),
    }
}
