//! Pure decisions: no I/O, no clock, no threads.

mod assess;
mod changed;
mod choose;
mod create;
mod definition;
mod pattern;
mod reference;
mod rename;
mod tokens;

pub use assess::{Verdict, assess, carried_mutations};
pub use changed::{Narrowed, narrow};
pub use choose::{Choice, Selection, choose};
pub use create::{CreatePlan, Scope, TableFreeze, plan_create};
pub use definition::{Definition, DefinitionError, DefinitionKind, Mapping, Replicated, Verb};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{ReferenceError, SnapshotReference};
pub use rename::{DatabaseRename, InvalidRename, Renames, TableRename};
