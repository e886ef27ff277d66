//! Turns a foreign tree into a snapshot: read, plan, place, inspect, seal.

mod clickhouse_backup;
mod into_repository;
mod manifest;
mod native;
mod place;
mod shadow;
mod tree;

pub use into_repository::{ImportReport, ImportRequest, PreparedImport, prepare_import};
pub use manifest::ImportedRows;
