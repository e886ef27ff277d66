//! The project itself: its layers, its documents, and what it ships.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![allow(clippy::print_stderr, reason = "a check that cannot be made here says so")]

mod documented;
mod layers;
mod names;
mod packages;
mod pages;
