//! chsnap: dated, full, hardlinked snapshots of a ClickHouse server's MergeTree tables.

pub mod checksums;
pub mod exec;
pub mod fs;
pub mod model;
pub mod monitor;
pub mod plan;
pub mod repo;
pub mod server;
