//! Changes from one state of the tables to another, part by part: between two snapshots, or from a snapshot to the
//! server.

mod definitions;
mod layout;
mod pairs;
mod parts;
mod side;
mod tables;
#[cfg(test)]
mod tests;

pub use pairs::Pairs;
pub use parts::{ComparableContent, PartChange, PartChangeKind, PartitionDiff, RowTally, SidePart, Tallies};
pub use side::{DiffSide, DumpedRows, SideContent, SideTable};
pub use tables::{Diff, TableChange, TableDiff, diff};
