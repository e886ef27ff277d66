//! The plan of a restore: the action for each table.

use std::fmt;

use crate::model::{Detachment, PartName, TableName, TableUuid, Warning, WarningKind, count};
use crate::plan::{AccessPlan, Mapping, ParsedDefinition, Verb};

use super::expiry::Expired;
use super::hold::HeldSetting;
use super::loss::Loss;
use super::not_run::NotRun;
use super::objects::{DatabasePlan, ObjectAction, ObjectPlan};
use super::recover::RecoveryStep;
use super::replica::{ReplicaObstacle, ReplicaPlan};
use super::storage::Disks;
use super::target::{Amount, TargetTable};

/// How a table that stays compares with the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptTableState {
    /// Its definition and its data equal the snapshot's.
    Same,
    /// Its definition differs; it has no data to compare, or no data was requested.
    OtherDefinition,
    /// Its data differs, and possibly its definition.
    OtherData {
        /// Rows that it has.
        rows: u64,
        /// Rows that the snapshot has.
        stored_rows: u64,
        /// Whether it has the definition in the snapshot.
        has_same_definition: bool,
    },
    /// It lacks only rows that are past its TTL, which would expire again if they were restored.
    Expired {
        /// Rows that it has.
        rows: u64,
        /// Rows of the snapshot that it lacks.
        expired_rows: u64,
    },
    /// Its rows could not be compared with the snapshot's.
    NotCompared,
}

impl KeptTableState {
    /// The warning about a table that differs.
    #[must_use]
    pub fn warning(self) -> Option<Warning> {
        let message = match self {
            Self::Same | Self::Expired { .. } => return None,
            Self::OtherDefinition => {
                "it exists with a definition that differs from the snapshot's, and stays".to_owned()
            }
            Self::NotCompared => "it exists and stays: its rows could not be compared with the snapshot's".to_owned(),
            Self::OtherData { rows, stored_rows, has_same_definition } => {
                let definition = if has_same_definition { "" } else { " and another definition" };
                let other = if rows == stored_rows { " in other parts" } else { "" };
                let (rows, stored_rows) = (count(rows, "row"), count(stored_rows, "row"));
                format!("it exists and stays: it has {rows}{other}{definition}, the snapshot has {stored_rows}")
            }
        };
        Some(Warning::new(WarningKind::ExistingDiffers, message))
    }
}

/// The action for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its parts are placed, and it is attached.
    Place,
    /// It is attached under another name, checked, and then replaces the existing table.
    Swap,
    /// It is attached under another name, checked, and then its partitions are moved to the existing table.
    Partitions(PartitionScope),
    /// A replicated table is created at its path in Keeper, empty, and gets its partitions from an intermediate table
    /// that is not replicated.
    FillReplica,
    /// A replicated table is created at its path in Keeper: it has no parts in the snapshot, or fetches those of other
    /// replicas.
    MakeReplica,
    /// It is created under another name, its rows are inserted and counted, and then it is renamed to its own name.
    Fill {
        /// Whether it replaces a table of that name.
        replaces: bool,
    },
    /// Its definition is executed.
    Make(Verb),
    /// It is a view or a dictionary that replaces an existing one with another definition.
    ReplaceView(ViewReplacement),
    /// It exists, and is left as it is.
    Keep(KeptTableState),
    /// It is not created unless explicitly requested.
    Skip(SkipReason),
    /// Parts of it are noted as damaged, and no snapshot has an intact copy.
    Damaged(DamagedParts),
    /// Something in Keeper is in its way.
    Blocked(Box<ReplicaObstacle>),
    /// It cannot be restored, for this reason.
    Impossible(String),
}

/// How a view or a dictionary replaces the existing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewReplacement {
    /// It is created under another name, and the two are exchanged: its name is never without one.
    Exchanged,
    /// It is created once the other one is gone: two at the same time would feed their target twice.
    Remade,
    /// As `Remade`, with an inner table whose name is that of the other one's, in a database without UUIDs.
    RemadeOver,
}

/// The partitions of an existing table that come from the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionScope {
    /// The selected ones; others stay.
    Selected,
    /// All; others are removed.
    All,
    /// The partitions without rows in the table: existing partitions stay.
    Missing,
}

/// Parts of a table that are noted as damaged, without an intact copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedParts {
    /// Their number.
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

/// Why something is not created unless explicitly requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It would consume messages from a queue that another table reads, or refresh itself.
    Queue,
    /// A secret of its definition is hidden in the snapshot.
    HiddenSecret,
    /// A detached table has its name, and would be overwritten.
    Detached,
    /// Its database is detached: it still has a definition on the server's disk.
    DetachedDatabase,
    /// It is the inner table of a view that is not created: nothing would refer to it.
    ViewNotMade,
    /// It is the inner table of a view that stays with another definition: nothing would refer to it.
    OtherView,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => {
                "it would consume the queue of the live table, or refresh by itself; --with-queues makes it nevertheless"
            }
            Self::Detached => {
                "a detached table has its name; ATTACH TABLE brings that one back, --rename restores this one under another"
            }
            Self::DetachedDatabase => {
                "its database is detached, or hidden from this user; ATTACH DATABASE brings it back"
            }
            Self::ViewNotMade => "it is the inner table of a view that is not made",
            Self::OtherView => "it is the inner table of a view that stays with another definition",
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
        self.needs_helper() || matches!(self, Self::Place | Self::Swap)
    }

    /// Whether its parts pass through an intermediate table, which is dropped again.
    #[must_use]
    pub fn needs_helper(&self) -> bool {
        matches!(self, Self::Partitions(_) | Self::FillReplica)
    }

    /// Why a table is not restored, if it is not.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Impossible(reason) => Some(reason.clone()),
            Self::Damaged(damaged) => Some(format!("{damaged}; --damaged restores them as they are")),
            Self::Skip(reason) => Some(reason.to_string()),
            Self::Blocked(obstacle) => Some(obstacle.to_string()),
            Self::Place
            | Self::Swap
            | Self::Partitions(_)
            | Self::FillReplica
            | Self::MakeReplica
            | Self::Fill { .. }
            | Self::Make(_)
            | Self::ReplaceView(_)
            | Self::Keep(_) => None,
        }
    }

    /// Whether it changes the server.
    #[must_use]
    pub fn changes_server(&self) -> bool {
        self.places_parts()
            || matches!(self, Self::Make(_) | Self::MakeReplica | Self::ReplaceView(_) | Self::Fill { .. })
    }

    /// Whether it creates a table whose name does not exist yet.
    #[must_use]
    pub fn makes_table(&self) -> bool {
        matches!(
            self,
            Self::Place | Self::FillReplica | Self::MakeReplica | Self::Fill { replaces: false } | Self::Make(_)
        )
    }
}

/// How an existing table is created on the hosts of a cluster that lack it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The hosts, as `host:port`.
    pub hosts: Vec<String>,
    /// Its definition on this host.
    pub definition: ParsedDefinition,
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
    /// The action.
    pub action: Action,
    /// The order of creation: tables with data first, queues last.
    pub rank: u8,
    /// The definition to execute, with the requested changes.
    pub definition: Option<ParsedDefinition>,
    /// The disks that its parts may be placed on.
    pub disks: Disks,
    /// Settings that hold it until it is compared.
    pub held: Vec<HeldSetting>,
    /// Statements that restore the TTL that was left out.
    pub ttl_statements: Vec<String>,
    /// Its new UUID, in databases whose tables have UUIDs.
    pub uuid: Option<TableUuid>,
    /// The UUID of the intermediate table through which its parts reach a replicated table.
    pub helper_uuid: Option<TableUuid>,
    /// How to create a replicated table that does not exist.
    pub replica: Option<ReplicaPlan>,
    /// A UUID that only its statement has: a database of the engine Memory requires one, and does not keep it.
    pub statement_uuid: Option<TableUuid>,
    /// The UUID of its inner table.
    pub inner_uuid: Option<TableUuid>,
    /// For an inner table: its view, if that replaces the existing one. The inner table stays only if the view does.
    pub comes_with: Option<TableName>,
    /// For an inner table in a database of the engine Replicated: its view, whose CREATE makes it under a name that only
    /// the server knows.
    pub made_by: Option<TableName>,
    /// Whether the UUID differs from the snapshot's.
    pub uuid_changed: bool,
    /// The parts, rows and bytes to restore.
    pub restores: Amount,
    /// The share past its TTL, which expires as soon as the table merges.
    pub expired: Expired,
    /// The data of the live table, if it is replaced or gets partitions.
    pub replaces: Option<Amount>,
    /// The UUID of the live table.
    pub live_uuid: Option<TableUuid>,
    /// The live table when the plan was made, if it is replaced or gets partitions.
    pub live: Option<TargetTable>,
    /// How it is detached again at the end, as it was when the snapshot was made; `None` if it stays attached.
    pub detaches: Option<Detachment>,
    /// For an existing table: the hosts of a cluster that lack it, on which it is created too.
    pub spread: Option<Spread>,
    /// Data of the live table that the snapshot lacks, and that would be lost.
    pub losses: Vec<Loss>,
    /// Mutations that it lacks and that are not executed.
    pub not_run: Vec<NotRun>,
    /// Notes for the person.
    pub warnings: Vec<Warning>,
}

impl TablePlan {
    /// Whether a replicated table gets its partitions before its final name, so that no writer sees it partly filled.
    #[must_use]
    pub fn is_filled_before_named(&self) -> bool {
        let can_be_renamed = self.replica.as_ref().is_some_and(ReplicaPlan::can_be_renamed);
        self.action == Action::FillReplica && can_be_renamed
    }

    fn all_warnings(&self) -> Vec<Warning> {
        let action = match &self.action {
            Action::Keep(kept) => kept.warning(),
            action => action.reason().map(|reason| Warning::new(WarningKind::TableNotRestored, reason)),
        };
        action.iter().chain(&self.warnings).map(|warning| warning.naming(&self.to)).collect()
    }
}

/// A table that is not touched without explicit permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableRefusal {
    /// Data of the live table would be lost: `--replace` allows it.
    Loss {
        /// The live table.
        table: TableName,
        /// The losses.
        losses: Vec<Loss>,
    },
    /// Something in Keeper is in the way of a replicated table.
    Replica {
        /// The table, by its new name.
        table: TableName,
        /// The obstacle.
        obstacle: Box<ReplicaObstacle>,
    },
}

impl fmt::Display for TableRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss { table, losses } => {
                let losses: Vec<String> = losses.iter().map(ToString::to_string).collect();
                write!(f, "{table} has {} that the snapshot does not have", losses.join(", "))
            }
            Self::Replica { table, obstacle } => write!(f, "{table}: {obstacle}"),
        }
    }
}

/// The plan of a restore.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// The recovery of what interrupted restores left, which comes first.
    pub recovery: Vec<RecoveryStep>,
    /// Databases to create.
    pub databases: Vec<DatabasePlan>,
    /// The cluster on whose hosts objects are created.
    pub on_cluster: Option<String>,
    /// Functions, named collections, workloads.
    pub objects: Vec<ObjectPlan>,
    /// Users, roles, quotas, policies, settings profiles.
    pub access: AccessPlan,
    /// The tables, in the order of their creation.
    pub tables: Vec<TablePlan>,
    /// New names and UUIDs, for definitions that mention them.
    pub mapping: Mapping,
    /// Actions that need explicit permission.
    pub refused: Vec<TableRefusal>,
    /// Conflicts of two tables that would have the same name.
    pub conflicts: Vec<String>,
    /// Notes for the person that concern no single table.
    pub warnings: Vec<Warning>,
}

impl RestorePlan {
    /// All warnings, each with the name of its object: with any of these the exit code is 3.
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

    /// Whether anything of the snapshot is created.
    #[must_use]
    pub fn makes_anything(&self) -> bool {
        let makes = self.objects.iter().any(|object| matches!(object.action, ObjectAction::Make(_)));
        makes
            || !self.access.steps.is_empty()
            || !self.databases.is_empty()
            || self.tables.iter().any(|table| table.action.changes_server() || table.spread.is_some())
    }
}
