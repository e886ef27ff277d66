//! The ClickHouse adapter: a synchronous face over the `clickhouse` crate.
//!
//! What a server has is asked of `system.columns`, never of its version number: [`Features`] holds the answer and
//! [`sql`] writes each statement from it. Statements end with their `FORMAT`, use no session and need no setting,
//! so that they also pass through a plain bridge that only forwards SQL. Whatever lists something goes through
//! [`Server::list`], which sees to it that the list is whole.

mod access;
mod connect;
mod databases;
mod digest;
mod disks;
mod dump;
mod error;
mod explain;
mod features;
mod freeze;
mod limited;
mod list;
mod neutral;
mod policies;
mod restore;
mod rights;
mod rows;
pub mod sql;
mod state;
mod survey;
mod transport;
mod waiting;

pub use access::{AccessRow, access_entities};
pub use connect::{ConnectOptions, Password, check_url};
pub use databases::{DatabaseRow, databases, own_database};
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
    FreezeQuery, PARTITIONS_OF_A_STATEMENT, RunningQuery, freeze_partitions, freeze_table, kill_freezes, knows_threads,
    running_freezes,
};
pub use list::List;
pub use restore::{
    Change, ListedPart, Shape, change, definition_settings, has_settings, hidden_uuids, merge_tree_settings,
    named_collections, parts_of, running_with, shape_of, storage_policies, table_uuids, unfinished_mutations,
};
pub use rights::{FreezeRight, freeze_right};
pub use rows::FunctionRow;
pub use state::{access_names, executable_functions, state_settings, user_directories};
pub use survey::{
    Definitions, DetachedRow, Identity, definitions, detached_tables, functions, identity, survey, survey_again,
    survey_table,
};
pub use transport::{Request, Server};
pub use waiting::{runs, waits_on};
