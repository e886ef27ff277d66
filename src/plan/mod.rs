//! Pure decisions: no I/O, no clock, no threads.

mod assess;
mod changed;
mod choose;
mod create;
mod frame;
mod pattern;
mod reference;
mod slice;

pub use assess::{Verdict, assess, carried_mutations};
pub use changed::{Narrowed, narrow};
pub use choose::{Choice, Selection, choose};
pub use create::{CreatePlan, Scope, TableFreeze, plan_create};
pub use frame::{Frame, OutsidePath, Place};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{ReferenceError, SnapshotReference};
pub use slice::{InvalidSlice, Slice};
