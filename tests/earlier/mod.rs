//! Repositories made by earlier versions, from `tests/fixtures`: the current version reads, verifies, prunes and
//! restores them.

mod fixture;
mod reading;
mod removing;
mod restoring;
