//! Reads the server, and plans a snapshot from that.

use crate::model::{Catalog, PartName, Table};
use crate::ops::disks::foreign_disk;
use crate::ops::error::OpError;
use crate::plan::{CreatePlan, Placing, TableSelection, plan_create};
use crate::server::{self, Server, ServerIdentity};

use super::previous::Previous;

/// The server's state as it was read.
pub(super) struct ServerSurvey {
    pub(super) identity: ServerIdentity,
    pub(super) databases: Vec<server::DatabaseRow>,
    pub(super) disks: Vec<server::Disk>,
    pub(super) catalog: Catalog,
}

pub(super) fn survey(server: &Server, selection: &TableSelection) -> Result<ServerSurvey, OpError> {
    let databases = server::databases(server)?;
    // These facts do not change meanwhile: they are read concurrently with the list of parts, which takes longest.
    let about = || -> Result<_, server::ServerError> { Ok((server::identity(server)?, server::disks(server)?)) };
    let (about, catalog) = std::thread::scope(|scope| {
        let about = scope.spawn(about);
        let catalog = server::survey_in(server, selection.names_system(), &databases);
        (about.join().expect("asking the server does not panic"), catalog)
    });
    let ((identity, disks), catalog) = (about?, catalog?);
    Ok(ServerSurvey { identity, databases, disks, catalog })
}

/// The plan for a server that was read, compared with the last snapshot.
///
/// # Errors
/// If the selection names an object that the server does not have.
pub(super) fn plan(
    survey: &ServerSurvey,
    previous: Option<&Previous>,
    selection: &TableSelection,
) -> Result<CreatePlan, OpError> {
    let plan = plan_again(&survey.catalog, &survey.disks, previous, selection);
    if plan.unmatched.is_empty() { Ok(plan) } else { Err(OpError::NothingNamed { names: plan.unmatched }) }
}

/// The same for a later look at the server.
pub(super) fn plan_again(
    catalog: &Catalog,
    disks: &[server::Disk],
    previous: Option<&Previous>,
    selection: &TableSelection,
) -> CreatePlan {
    let knows = |table: &Table, part: &PartName| previous.is_some_and(|previous| previous.knows(table, part));
    let placing = previous.map_or(Placing::Linked, Previous::placing);
    plan_create(catalog, selection, |path| foreign_disk(disks, path), knows, placing)
}
