//! State and functions shared by attaching and filling tables.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid, WarningKind};
use crate::plan::{ParsedDefinition, RestorePlan, TablePlan, Verb};
use crate::server::{self, ServerError, code, sql};

use super::context::RestoreContext;
use super::described::DescribedDisks;
use super::job::TableJob;
use super::place::PlacedTable;
use super::refused::TableFailure;
use super::report::TableReport;
use super::staging::Staging;
use super::statements::Statements;

/// Everything needed to attach tables.
pub(super) struct Attaching<'a> {
    pub(super) context: &'a RestoreContext<'a>,
    pub(super) plan: &'a RestorePlan,
    pub(super) jobs: &'a BTreeMap<TableName, TableJob<'a>>,
    pub(super) placed: &'a BTreeMap<TableName, PlacedTable>,
    pub(super) staging: &'a Staging,
    pub(super) statements: &'a Statements<'a>,
    /// Settings under which a server accepts any definition that another server accepted.
    pub(super) settings: &'a [(String, String)],
    /// Databases that could not be created, with the reason.
    pub(super) missing_databases: &'a BTreeMap<String, String>,
    /// The disks that definitions describe themselves.
    pub(super) described: &'a DescribedDisks,
}

impl Attaching<'_> {
    /// The settings in the form that a request takes.
    pub(super) fn settings(&self) -> Vec<(&str, String)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
    }
}

/// Runs a definition under this name, with the UUID of its plan.
pub(super) fn run_definition(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    name: &TableName,
    definition: (Verb, &ParsedDefinition),
) -> Result<(), TableFailure> {
    run_definition_with(attaching, plan, (name, plan.uuid.as_ref()), definition)
}

/// Creates a table by its definition: on all hosts of a cluster, if requested and planned so.
///
/// A host that does not answer, or refuses, is a warning if the table exists here: the statement waits for that host in
/// the cluster's queue, and is not sent again.
pub(super) fn make_by_definition(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    (verb, definition): (Verb, &ParsedDefinition),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let Some(cluster) = &attaching.plan.on_cluster else {
        return run_definition(attaching, plan, &plan.to, (verb, definition));
    };
    let uuid = plan.uuid.as_ref().or(plan.statement_uuid.as_ref());
    run_on_cluster(attaching, (plan, cluster), (&sql::quote_table(&plan.to), uuid), (verb, definition), report)
}

/// Creates a table that exists here on the hosts of a cluster that lack it, if a cluster was given. A replicated table
/// is filled by the time another host gets it, and that host then fetches the data.
pub(super) fn make_on_other_hosts(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    (uuid, definition): (Option<&TableUuid>, &ParsedDefinition),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let Some(cluster) = &attaching.plan.on_cluster else { return Ok(()) };
    let name = format!("IF NOT EXISTS {}", sql::quote_table(&plan.to));
    run_on_cluster(attaching, (plan, cluster), (&name, uuid), (Verb::Create, definition), report)
}

fn run_on_cluster(
    attaching: &Attaching<'_>,
    (plan, cluster): (&TablePlan, &str),
    (quoted_name, uuid): (&str, Option<&TableUuid>),
    (verb, definition): (Verb, &ParsedDefinition),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let uuids = (uuid, plan.inner_uuid.as_ref());
    let quoted_cluster = sql::quote_name(cluster);
    let mapping = &attaching.plan.mapping;
    let statement = definition.statement_on_cluster(verb, (quoted_name, &quoted_cluster), uuids, mapping);
    let (label, secrets) = (format!("the definition of {}", plan.from), definition.secrets());
    let sent = attaching.statements.run_on_cluster(&label, &statement, &attaching.settings(), &secrets);
    let Err(error) = sent else { return Ok(()) };
    let exists = server::survey_table(attaching.context.server, &plan.to)?.is_some();
    match error {
        error @ ServerError::Exception { .. } if exists => {
            let error = crate::monitor::chain(&error);
            report.warn(
                WarningKind::HostMissing,
                format!("not all hosts of the cluster {cluster} have made it: {error}"),
            );
            Ok(())
        }
        error => Err(TableFailure::definition(error)),
    }
}

/// Runs a definition under this name, and with this UUID.
pub(super) fn run_definition_with(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    (name, uuid): (&TableName, Option<&TableUuid>),
    (verb, definition): (Verb, &ParsedDefinition),
) -> Result<(), TableFailure> {
    let uuids = (uuid.or(plan.statement_uuid.as_ref()), plan.inner_uuid.as_ref());
    let statement = definition.statement(verb, &sql::quote_table(name), uuids, &attaching.plan.mapping);
    let (label, secrets) = (format!("the definition of {}", plan.from), definition.secrets());
    match attaching.statements.run_definition(&label, &statement, &attaching.settings(), &secrets) {
        // A profile can forbid single settings: then the definition is tried with the profile's own.
        Err(error) if error.code().is_some_and(|code| code::SETTING_REFUSED.contains(&code)) => {
            attaching.statements.run_definition(&label, &statement, &[], &secrets).map_err(TableFailure::definition)
        }
        result => result.map_err(TableFailure::definition),
    }
}
