//! Pure decisions: no I/O, no clock, no threads.

mod assess;
mod changed;
mod choose;
mod create;
mod nearest;
mod night;
mod pattern;
mod reference;

pub use assess::{Verdict, assess, carried_mutations};
pub use changed::{Narrowed, narrow};
pub use choose::{Choice, Selection, choose};
pub use create::{CreatePlan, Scope, TableFreeze, plan_create};
pub use nearest::nearest;
pub use night::{Missed, missed, next_wait, worst_code};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{ReferenceError, SnapshotReference};
