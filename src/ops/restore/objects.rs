//! Creates the objects that tables need: databases, functions, named collections, workloads.

use std::collections::BTreeMap;

use crate::model::{Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{DatabasePlan, ObjectAction, ObjectPlan, ObjectStatement};
use crate::server::{self, ServerError, sql};

use super::context::RestoreContext;
use super::statements::Statements;

/// `UNKNOWN_DATABASE_ENGINE`: Ordinary databases, unless a setting allows them.
const UNKNOWN_DATABASE_ENGINE: i32 = 336;

const UNKNOWN_SETTING: i32 = 115;

/// `DATABASE_ALREADY_EXISTS`: created since the plan was made, for example by another restore.
const DATABASE_ALREADY_EXISTS: i32 = 82;

/// The objects that were created, and those that could not be.
#[derive(Debug, Default)]
pub(super) struct MadeObjects {
    /// The objects that were created.
    pub(super) made: Vec<String>,
    /// Functions, named collections and workloads that could not be created, with the reason.
    pub(super) refused: Vec<Warning>,
    /// Databases that could not be created, with the reason: their tables cannot be restored.
    pub(super) missing_databases: BTreeMap<String, String>,
}

/// Creates the databases of a plan.
///
/// # Errors
/// If the server does not answer. A refusal affects only the tables of that database.
pub(super) fn make_databases(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    databases: &[&DatabasePlan],
    made: &mut MadeObjects,
) -> Result<(), OpError> {
    let cluster = context.request.options.on_cluster.as_deref();
    for database in databases {
        context.check_interrupted()?;
        let is_here = context.survey.databases.contains_key(&database.name);
        let result = make_database(statements, database, cluster);
        // If the reason is another host, the database exists here all the same.
        let exists = || -> Result<bool, OpError> {
            let known = server::databases(context.server)?;
            Ok(cluster.is_some() && known.iter().any(|known| known.name == database.name))
        };
        match result {
            Ok(true) if is_here => {}
            Err(Unmade::Refused(reason)) if exists()? => {
                let message = format!("database {} was not made on all hosts: {reason}", database.name);
                made.refused.push(Warning::new(WarningKind::HostMissing, message));
            }
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

/// Creates a database; false if it exists by now.
fn make_database(statements: &Statements<'_>, database: &DatabasePlan, cluster: Option<&str>) -> Result<bool, Unmade> {
    let engine = database.engine.as_ref().map_err(|reason| Unmade::Refused(reason.clone()))?;
    let name = sql::quote_name(&database.name);
    let statement = match cluster {
        Some(cluster) => {
            format!("CREATE DATABASE IF NOT EXISTS {name} ON CLUSTER {} {engine}", sql::quote_name(cluster))
        }
        None => format!("CREATE DATABASE {name} {engine}"),
    };
    let allowed = [("allow_deprecated_database_ordinary", "1".to_owned())];
    let label = format!("the definition of database {}", database.name);
    if cluster.is_some() {
        return Ok(statements.run_on_cluster(&label, &statement, &[], &[]).map(|()| true)?);
    }
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

/// Creates the functions, named collections and workloads of a plan. One may need another, so failed ones are retried
/// as long as others succeed.
///
/// # Errors
/// If the server does not answer.
pub(super) fn make_objects(
    context: &RestoreContext<'_>,
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
            let secrets = statement.secrets();
            let run = match &context.request.options.on_cluster {
                Some(cluster) => {
                    let text = statement.create_on_cluster(&sql::quote_name(cluster));
                    statements.run_on_cluster(&label, &text, &[], &secrets)
                }
                None => statements.run_definition(&label, &statement.create(), &[], &secrets),
            };
            match run {
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
