//! Laws that hold for every input, and inputs found by fuzzing.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
#![allow(clippy::print_stderr, reason = "a check that cannot be made here says so")]

mod executors;
mod fuzz;
mod laws;
mod retention;
#[path = "../../fuzz/targets.rs"]
mod targets;
