//! The plan of a restore: what is done with each table.

use std::fmt;

use crate::model::{PartName, TableName, TableUuid, Warning, WarningKind, count};
use crate::plan::{AccessPlan, Definition, Mapping, Verb};

use super::expiry::Expired;
use super::hold::HeldSetting;
use super::loss::Loss;
use super::objects::{DatabasePlan, ObjectAction, ObjectPlan};
use super::recover::RecoveryStep;
use super::storage::Disks;
use super::target::{Amount, TargetTable};

/// How a table that stays compares with the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Definition and data are the snapshot's.
    Same,
    /// Its definition differs; it has no data to compare, or none was asked for.
    OtherDefinition,
    /// Its data differs, and its definition as well where that is said.
    OtherData {
        /// Rows that it has.
        rows: u64,
        /// Rows that the snapshot has.
        stored_rows: u64,
        /// Whether it is defined as in the snapshot.
        has_same_definition: bool,
    },
    /// Its rows could not be compared with the snapshot's.
    NotCompared,
}

impl Kept {
    /// What the person should know of a table that differs.
    #[must_use]
    pub fn warning(self) -> Option<Warning> {
        let message = match self {
            Self::Same => return None,
            Self::OtherDefinition => {
                "it exists with a definition that differs from the snapshot's, and stays".to_owned()
            }
            Self::NotCompared => "it exists and stays: its rows could not be compared with the snapshot's".to_owned(),
            Self::OtherData { rows, stored_rows, has_same_definition } => {
                let (rows, stored_rows) = (count(rows, "row"), count(stored_rows, "row"));
                let definition = if has_same_definition { "" } else { " and another definition" };
                format!("it exists and stays: it has {rows}{definition}, the snapshot has {stored_rows}")
            }
        };
        Some(Warning::new(WarningKind::ExistingDiffers, message))
    }
}

/// What is done with one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its parts are placed, and it is attached.
    Place,
    /// It is attached under another name, checked, and then takes the place of the table that is there.
    Swap,
    /// It is attached under another name, checked, and then gives its partitions to the table that is there.
    Partitions {
        /// Whether that table's other partitions go.
        others_go: bool,
    },
    /// It is made under another name, its rows are inserted and counted, and then it gets its own name.
    Fill {
        /// Whether an empty table has that name, whose place it takes.
        replaces: bool,
    },
    /// Its definition is run.
    Make(Verb),
    /// It is there, and left as it is.
    Keep(Kept),
    /// It is not made unless that is asked for.
    Skip(SkipReason),
    /// Parts of it are noted as damaged, and no snapshot has an intact copy.
    Damaged(DamagedParts),
    /// It cannot be restored, for this reason.
    Impossible(String),
}

/// Parts of a table that are noted as damaged, without an intact copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedParts {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: PartName,
}

impl fmt::Display for DamagedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, first } = self;
        let are = if *count == 1 { "is" } else { "are" };
        write!(f, "{count} of its parts {are} noted as damaged ({first}), and no snapshot has an intact copy")
    }
}

/// Why something is not made unless that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It would take messages from a queue that another table reads, or refresh itself.
    Queue,
    /// A secret of its definition is hidden in the snapshot.
    HiddenSecret,
    /// A detached table has its name, and would be overwritten.
    Detached,
    /// Its database is detached: it has a definition on the server's disk.
    DetachedDatabase,
    /// It is the inner table of a view that is not made: nothing would lead to it.
    ViewNotMade,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => {
                "it would consume the queue of the live table, or refresh by itself; --with-queues makes it all the same"
            }
            Self::Detached => {
                "a detached table has its name; ATTACH TABLE brings that one back, --rename restores this one under another"
            }
            Self::DetachedDatabase => {
                "its database is detached, or hidden from this user; ATTACH DATABASE brings it back"
            }
            Self::ViewNotMade => "it is the inner table of a view that is not made",
            Self::HiddenSecret => {
                "a secret of its definition is hidden in the snapshot; --with-hidden-secrets makes it with [HIDDEN] as \
                 its secret"
            }
        })
    }
}

impl Action {
    /// Whether parts are placed for it.
    #[must_use]
    pub fn places_parts(&self) -> bool {
        matches!(self, Self::Place | Self::Swap | Self::Partitions { .. })
    }

    /// Why nothing is done, of a table that is not restored.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Impossible(reason) => Some(reason.clone()),
            Self::Damaged(damaged) => Some(format!("{damaged}; --damaged restores them as they are")),
            Self::Skip(reason) => Some(reason.to_string()),
            Self::Place | Self::Swap | Self::Partitions { .. } | Self::Fill { .. } | Self::Make(_) | Self::Keep(_) => {
                None
            }
        }
    }

    /// Whether it changes the server.
    #[must_use]
    pub fn changes_server(&self) -> bool {
        self.places_parts() || matches!(self, Self::Make(_) | Self::Fill { .. })
    }
}

/// One table of the plan.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its name in the snapshot.
    pub from: TableName,
    /// Its name on the server.
    pub to: TableName,
    /// Its engine.
    pub engine: String,
    /// What is done.
    pub action: Action,
    /// Tables with data first, queues last.
    pub rank: u8,
    /// The definition that is run, with the changes that were asked for.
    pub definition: Option<Definition>,
    /// The disks that its parts may go to.
    pub disks: Disks,
    /// Settings that it is held by until it is compared.
    pub held: Vec<HeldSetting>,
    /// Statements that bring back the TTL that was left out.
    pub ttl_statements: Vec<String>,
    /// The UUID that it gets, in databases whose tables have some.
    pub uuid: Option<TableUuid>,
    /// A UUID that only its statement has: a database of the engine Memory wants one, and keeps none.
    pub statement_uuid: Option<TableUuid>,
    /// The UUID of its inner table.
    pub inner_uuid: Option<TableUuid>,
    /// Whether the UUID differs from the snapshot's.
    pub uuid_changed: bool,
    /// What is restored.
    pub restores: Amount,
    /// What of it is past its TTL: it expires as soon as the table merges.
    pub expired: Expired,
    /// What the live table holds, of one that is replaced or gets partitions.
    pub replaces: Option<Amount>,
    /// The UUID of the live table.
    pub live_uuid: Option<TableUuid>,
    /// The live table as it was when the plan was made, of one that is replaced or gets partitions.
    pub live: Option<TargetTable>,
    /// Whether it is detached again at the end, as it was when the snapshot was made.
    pub detaches: bool,
    /// What of the live table the snapshot does not have, and would be lost.
    pub losses: Vec<Loss>,
    /// Notes for the person.
    pub warnings: Vec<Warning>,
}

impl TablePlan {
    fn all_warnings(&self) -> Vec<Warning> {
        let action = match &self.action {
            Action::Keep(kept) => kept.warning(),
            action => action.reason().map(|reason| Warning::new(WarningKind::TableNotRestored, reason)),
        };
        action.iter().chain(&self.warnings).map(|warning| warning.naming(&self.to)).collect()
    }
}

/// A table that is not touched unless a person asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something of the live table would be lost: `--replace` allows it.
    Loss {
        /// The live table.
        table: TableName,
        /// What.
        losses: Vec<Loss>,
    },
    /// A second table would be made on a replica's path in Keeper: `--replicated` chooses another way.
    Replicated {
        /// The table, by its name in the snapshot.
        table: TableName,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss { table, losses } => {
                let losses: Vec<String> = losses.iter().map(ToString::to_string).collect();
                write!(f, "{table} has {} that the snapshot does not have", losses.join(", "))
            }
            Self::Replicated { table } => {
                write!(f, "{table} is replicated: a second table on its path in Keeper would break the replica")
            }
        }
    }
}

/// What a restore does.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// What is done first, with the leftovers of interrupted restores.
    pub recovery: Vec<RecoveryStep>,
    /// Databases to make.
    pub databases: Vec<DatabasePlan>,
    /// Functions, named collections, workloads.
    pub objects: Vec<ObjectPlan>,
    /// Users, roles, quotas, policies, settings profiles.
    pub access: AccessPlan,
    /// The tables, in the order in which they are made.
    pub tables: Vec<TablePlan>,
    /// New names and UUIDs, for definitions that mention them.
    pub mapping: Mapping,
    /// What is not done unless it is asked for.
    pub refused: Vec<Refusal>,
    /// Two tables that would have one name.
    pub conflicts: Vec<String>,
    /// Notes for the person that are about no single table.
    pub warnings: Vec<Warning>,
}

impl RestorePlan {
    /// What the person should know, each with the name of what it is about: with any of these the exit code is 3.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        let leftovers = self.recovery.iter().filter(|step| matches!(step, RecoveryStep::Keep { .. }));
        let leftovers = leftovers.map(|step| Warning::new(WarningKind::LeftoverPending, step.to_string()));
        let databases = self.databases.iter().filter_map(|database| {
            let reason = database.engine.as_ref().err()?;
            let message = format!("database {} cannot be made: {reason}", database.name);
            Some(Warning::new(WarningKind::ObjectNotMade, message))
        });
        let access = self.access.refusals().into_iter();
        let access = access.map(|refusal| Warning::new(WarningKind::AccessNotMade, refusal));
        leftovers
            .chain(databases)
            .chain(self.objects.iter().filter_map(ObjectPlan::warning))
            .chain(access)
            .chain(self.warnings.iter().cloned())
            .chain(self.tables.iter().flat_map(TablePlan::all_warnings))
            .collect()
    }

    /// Whether carrying it out changes anything on the server.
    #[must_use]
    pub fn changes_server(&self) -> bool {
        let recovers = self.recovery.iter().any(|step| !matches!(step, RecoveryStep::Keep { .. }));
        recovers || self.makes_anything()
    }

    /// Whether anything of the snapshot is made.
    #[must_use]
    pub fn makes_anything(&self) -> bool {
        let makes = self.objects.iter().any(|object| matches!(object.action, ObjectAction::Make(_)));
        makes
            || !self.access.steps.is_empty()
            || !self.databases.is_empty()
            || self.tables.iter().any(|table| table.action.changes_server())
    }
}
