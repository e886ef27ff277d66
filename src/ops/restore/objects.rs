//! Makes what tables need before them: databases, functions, named collections, workloads.

use std::collections::BTreeMap;

use crate::model::{Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{DatabasePlan, ObjectAction, ObjectPlan, ObjectStatement};
use crate::server::{ServerError, sql};

use super::context::Context;
use super::statements::Statements;

/// `UNKNOWN_DATABASE_ENGINE`: Ordinary databases, unless they are allowed by a setting.
const UNKNOWN_DATABASE_ENGINE: i32 = 336;

const UNKNOWN_SETTING: i32 = 115;

/// `DATABASE_ALREADY_EXISTS`: somebody made it since the plan was made, another restore say.
const DATABASE_ALREADY_EXISTS: i32 = 82;

/// What was made, and what could not be.
#[derive(Debug, Default)]
pub(super) struct MadeObjects {
    /// What was made.
    pub(super) made: Vec<String>,
    /// Functions, named collections and workloads that could not be made, with the reason.
    pub(super) refused: Vec<Warning>,
    /// Databases that could not be made, with the reason: they cost their own tables.
    pub(super) missing_databases: BTreeMap<String, String>,
}

/// Makes the databases of a plan.
///
/// # Errors
/// If the server does not answer. What it refuses costs the tables of that database alone.
pub(super) fn make_databases(
    context: &Context<'_>,
    statements: &Statements<'_>,
    databases: &[&DatabasePlan],
    made: &mut MadeObjects,
) -> Result<(), OpError> {
    for database in databases {
        context.check_interrupted()?;
        match make_database(statements, database) {
            Ok(true) => made.made.push(format!("database {}", database.name)),
            Ok(false) => {}
            Err(Unmade::Refused(reason)) => {
                let reason = format!("its database {} could not be made: {reason}", database.name);
                made.refused.push(Warning::new(WarningKind::ObjectNotMade, reason.clone()));
                made.missing_databases.insert(database.name.clone(), reason);
            }
            Err(Unmade::Failed(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

enum Unmade {
    Refused(String),
    Failed(ServerError),
}

impl From<ServerError> for Unmade {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Exception { .. } => Self::Refused(crate::monitor::chain(&error)),
            error => Self::Failed(error),
        }
    }
}

/// Makes a database; false where it is there by now.
fn make_database(statements: &Statements<'_>, database: &DatabasePlan) -> Result<bool, Unmade> {
    let engine = database.engine.as_ref().map_err(|reason| Unmade::Refused(reason.clone()))?;
    let statement = format!("CREATE DATABASE {} {engine}", sql::quote_name(&database.name));
    let allowed = [("allow_deprecated_database_ordinary", "1".to_owned())];
    let label = format!("the definition of database {}", database.from);
    let result = match statements.run_definition(&label, &statement, &[], &[]) {
        Err(refusal @ ServerError::Exception { code: UNKNOWN_DATABASE_ENGINE, .. }) => {
            match statements.run_definition(&label, &statement, &allowed, &[]) {
                // An older server: the reason is that it lacks the engine, not the setting.
                Err(ServerError::Exception { code: UNKNOWN_SETTING, .. }) => Err(refusal),
                result => result,
            }
        }
        result => result,
    };
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(DATABASE_ALREADY_EXISTS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the functions, named collections and workloads of a plan. One may need another: what fails is tried again as
/// long as something else comes to stand.
///
/// # Errors
/// If the server does not answer.
pub(super) fn make_objects(
    context: &Context<'_>,
    statements: &Statements<'_>,
    objects: &[ObjectPlan],
    made: &mut MadeObjects,
) -> Result<(), OpError> {
    let mut pending: Vec<(String, &ObjectStatement)> = Vec::new();
    for object in objects {
        if let ObjectAction::Make(statement) = &object.action {
            pending.push((format!("{} {}", object.kind, object.name), statement));
        }
        made.refused.extend(object.warning());
    }
    loop {
        let before = pending.len();
        let mut failed = Vec::new();
        for (label, statement) in std::mem::take(&mut pending) {
            context.check_interrupted()?;
            match statements.run_definition(&label, &statement.create(), &[], &statement.secrets()) {
                Ok(()) => made.made.push(label),
                Err(error @ ServerError::Exception { .. }) => {
                    failed.push((label, statement, crate::monitor::chain(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if failed.is_empty() || failed.len() == before {
            let refused =
                |(label, _, error)| Warning::new(WarningKind::ObjectNotMade, format!("{label} was not made: {error}"));
            made.refused.extend(failed.into_iter().map(refused));
            return Ok(());
        }
        pending = failed.into_iter().map(|(label, statement, _)| (label, statement)).collect();
    }
}
