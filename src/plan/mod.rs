//! Pure decisions: no I/O, no clock, no threads.

mod assess;
mod changed;
mod choose;
mod create;
mod growth;
mod holders;
mod nearest;
mod night;
mod pattern;
mod reference;
pub mod retention;
mod space;
mod walked;
mod frame;
mod pattern;
mod reference;
mod slice;

pub use assess::{Verdict, assess, carried_mutations};
pub use changed::{Narrowed, narrow};
pub use choose::{Choice, Selection, choose};
pub use create::{CreatePlan, Scope, TableFreeze, plan_create};
pub use growth::{Growth, Sample, growth};
pub use holders::{HolderSets, Holders, SetId};
pub use nearest::nearest;
pub use night::{Missed, missed, next_wait, worst_code};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{ReferenceError, SnapshotReference};
pub use space::{Asked, Class, Held, Piece, Space, Summed, sum_up};
pub use walked::{Walked, WalkedFile};
pub use frame::{Frame, OutsidePath, Place};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{ReferenceError, SnapshotReference};
pub use slice::{InvalidSlice, Slice};
