//! Decides which snapshots stay: pure functions of the snapshots, a policy, a time zone and the time.
//!
//! The rules have the same meaning as restic's (`ApplyPolicy` in its `internal/data/snapshot_policy.go`): each rule
//! keeps the newest snapshot of each of its periods, a snapshot stays if any rule keeps it, periods without a snapshot
//! do not count, and spans of time count back from the newest snapshot. `docs/retention.md` explains this to users, and
//! where chsnap goes further: each series is judged separately, an incomplete snapshot displaces no complete one, a
//! snapshot dated in the future counts for nothing, one time zone applies to all, and floors apply below the rules.

mod candidate;
mod count;
mod decide;
mod free;
mod guard;
mod policy;
mod reason;
mod rule;
mod simulate;
mod span;
mod stale;
#[cfg(test)]
mod tests;

pub use candidate::{Candidate, SnapshotHealth};
pub use count::{Count, InvalidCount};
pub use decide::{RetentionDecision, decide};
pub use free::{FreePlan, free_oldest, limit_to_free};
pub use guard::{Guard, GuardLimits, guards};
pub use policy::{InvalidNameGlob, NameGlob, Policy};
pub use reason::Reason;
pub use rule::Rule;
pub use simulate::{Simulation, simulate};
pub use span::{CalendarSpan, InvalidSpan};
pub use stale::{STALE_AFTER, StaleSeries, stale};
