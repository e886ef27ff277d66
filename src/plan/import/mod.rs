//! Plans the import of a foreign tree as a snapshot, before anything is written.

mod paths;
mod planner;
mod source;

pub use paths::{PathInTree, place_in_tree, relative_path};
pub use planner::{ImportPlan, ImportedDatabase, ImportedTable, plan_import};
pub use source::{ImportKind, ImportSource, PartFilesSource, Refusal, SourceDefinition, SourceFile, SourcePart};
