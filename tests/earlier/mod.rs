//! Repositories that earlier versions made, from `tests/fixtures`: today's version reads, verifies, prunes and restores
//! them.

mod fixture;
mod reading;
mod removing;
mod restoring;
