//! The project itself: its layers, its documentation, and its packages.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
#![allow(clippy::print_stderr, reason = "a check that cannot be made here says so")]

mod documented;
mod layers;
mod names;
mod packages;
mod pages;
