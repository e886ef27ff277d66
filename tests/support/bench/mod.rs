//! Shared code of the benchmarks.
//!
//! | module | gives |
//! |---|---|
//! | [`program`] | the options of every benchmark, its beginning and its end |
//! | [`machine`] | a line about the machine and its filesystem |
//! | [`measure`] | a command that is run once: its time, its memory, its output |
//! | [`copies`] | the other tools that copy or link a tree |
//! | [`threads`] | a loop over several threads |
//! | [`section`] | numbers as text, and the part of a page that a benchmark writes |

pub mod copies;
pub mod machine;
pub mod measure;
pub mod program;
pub mod section;
pub mod threads;
