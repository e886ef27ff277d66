//! Laws that hold for every input, and what fuzzing has found.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![allow(clippy::print_stderr, reason = "a check that cannot be made here says so")]

mod executors;
mod fuzz;
mod laws;
mod retention;
#[path = "../../fuzz/targets.rs"]
mod targets;
