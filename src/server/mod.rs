//! The ClickHouse adapter: a synchronous interface to the `clickhouse` crate.
//!
//! The features of a server are read from `system.columns`, never derived from its version number: [`Features`] holds
//! the answer and [`sql`] builds each statement from it. Statements end with their `FORMAT`, use no session and need no
//! setting, so that they also pass through a plain bridge that only forwards SQL. Every list goes through
//! [`Server::list`], which makes sure that it is complete.

mod access;
mod connect;
mod connector;
mod databases;
mod digest;
mod disks;
mod dump;
mod error;
mod explain;
mod features;
mod freeze;
mod hosts;
mod keeper;
mod limited;
mod list;
mod neutral;
mod policies;
mod replicas;
mod restore;
mod rights;
mod rows;
pub mod sql;
mod state;
mod survey;
mod transport;
mod waiting;
mod web;

pub use access::{AccessRow, access_entities};
pub use connect::{ConnectOptions, Password, check_url};
pub use databases::{DatabaseRow, database_engines, databases, own_database};
pub use digest::{PartSum, RowSum, is_unreadable_code, is_unreadable_data, part_sums, read_rows, row_sum};
pub use disks::{Disk, disks};
pub use dump::{
    DumpStream, StoredColumn, check_rows_are_visible, count_rows, insert_native, read_native, stored_columns,
    total_rows,
};
pub use error::{ServerError, UrlProblem, code};
pub use explain::{LoggedError, detached_parts, errors_of_last, statements_in};
pub use features::Features;
pub use freeze::{
    FreezeQuery, RunningQuery, freeze_partitions, freeze_table, kill_freezes, knows_threads, running_freezes,
};
pub use hosts::{
    HostAnswers, HostPart, HostReplica, databases_on_hosts, parts_on_hosts, replicas_on_hosts, tables_on_hosts,
    uuids_on_hosts,
};
pub use keeper::{
    DroppedRow, KeeperNode, ReplicaStatus, clusters, default_replica, dropped_elsewhere, dropped_tables,
    drops_replicas, is_reachable, keeper_nodes, own_clusters, replica_status, shows_keeper,
};
pub use list::List;
pub use replicas::{SyncMode, macros, mutations_in_keeper, replicas, replication_queue, sync_mode, sync_replica};
pub use restore::{
    ListedPart, ServerChange, TableShape, change, definition_settings, has_settings, hidden_uuids, merge_tree_settings,
    named_collections, parts_of, running_with, shape_of, storage_policies, table_uuids, unfinished_mutations,
};
pub use rights::{FreezeRight, freeze_right};
pub use rows::FunctionRow;
pub use state::{access_names, executable_functions, state_settings, user_directories};
pub use survey::{
    DetachedTableRow, ServerDefinitions, ServerIdentity, StatesOfParts, definitions, detached_tables, functions,
    identity, old_parts_lifetime, states_of_parts, survey, survey_again, survey_in, survey_table,
};
pub use transport::{Request, Server};
pub use waiting::{runs, waits_on};
pub use web::{HttpClient, WebError};
