//! Pure decisions: no I/O, no clock, no threads.

mod assess;
mod changed;
mod choose;
mod create;
mod growth;
mod holders;
mod pattern;
mod reference;
mod space;
mod walked;
pub mod retention;

pub use assess::{Verdict, assess, carried_mutations};
pub use changed::{Narrowed, narrow};
pub use choose::{Choice, Selection, choose};
pub use create::{CreatePlan, Scope, TableFreeze, plan_create};
pub use growth::{Growth, Sample, growth};
pub use holders::{HolderSets, Holders, SetId};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{ReferenceError, SnapshotReference};
pub use space::{Asked, Class, Held, Piece, Space, Summed, sum_up};
pub use walked::{Walked, WalkedFile};
