//! What changed from one state of the tables to another, part by part: between two snapshots, or from one to the server.

mod definitions;
mod layout;
mod pairs;
mod parts;
mod side;
mod tables;
#[cfg(test)]
mod tests;

pub use pairs::Pairs;
pub use parts::{Change, Content, PartChange, PartitionDiff, SidePart, Tallies, Tally};
pub use side::{DumpedRows, Held, Side, SideTable};
pub use tables::{Diff, TableDiff, TableState, diff};
