//! Copies to another filesystem: equal to their sources in all that can be kept, or an error that names the file.

#![allow(clippy::disallowed_methods, reason = "it makes the trees that it works on")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![allow(clippy::print_stderr, reason = "what is skipped is said aloud")]

mod faults;
#[path = "../support/faulty.rs"]
mod faulty;
mod files;
mod parts;
mod support;
