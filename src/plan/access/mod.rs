//! Users, roles, quotas, policies and settings profiles: read from a snapshot, and planned for a server.

mod entity;
mod names;
mod planner;
mod replaced;
mod sequence;
mod target;
#[cfg(test)]
mod tests;

pub use entity::{AccessEntity, AccessFileError, SourceAccess, UnreadableAccess};
pub use names::AccessNames;
pub use planner::{AccessAction, AccessKept, AccessOptions, AccessPlan, BegunAccess, EntityPlan, plan_access};
pub use sequence::{AccessStep, sequence};
pub use target::{LiveEntity, LiveList, TargetAccess};
