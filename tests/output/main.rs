//! Every command's text, JSON document and help, as the person and the program see them.
//!
//! The transcripts in `snapshots/` are the reviewed record: a change of output is a change of these files, made by
//! `INSTA_UPDATE=always cargo nextest run --test output` and read in the diff. What differs between two runs or two hosts
//! is masked in one place, [`transcript`].

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![allow(dead_code, reason = "support that other test programs use more of")]

#[path = "../support/chsnap.rs"]
mod chsnap_command;
#[path = "../support/engine.rs"]
mod engine;
#[allow(unused_imports, reason = "the tests of commands use more of it")]
#[path = "../cli/support.rs"]
mod support;
#[path = "../support/tree.rs"]
mod tree;

mod errors;
mod help;
mod repository;
mod server;
mod transcript;
