//! Every command's text, JSON document and help, as users and programs see them.
//!
//! The transcripts in `snapshots/` are the reviewed record: a change of output is a change of these files, made by
//! `INSTA_UPDATE=always cargo nextest run --test commands -E "test(/^output/)"` and read in the diff. What differs between two runs or two hosts
//! is masked in one place, [`transcript`].

mod errors;
mod help;
mod repository;
mod schemas;
mod server;
mod transcript;
