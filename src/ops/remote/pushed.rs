//! The outcome of pushing a snapshot.

use crate::model::PartTally;
use crate::repo::SecretsLeftOut;

/// The outcome of pushing a snapshot.
#[derive(Clone, Debug)]
pub enum PushOutcome {
    /// It is in the store now.
    Pushed(Box<Pushed>),
    /// It was in the store already.
    Present,
    /// It is damaged in the local repository, and was not pushed.
    Damaged(String),
}

/// A snapshot that was pushed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pushed {
    /// Its parts.
    pub all: PartTally,
    /// Objects that it needs.
    pub objects: u64,
    /// Bytes of those.
    pub object_bytes: u64,
    /// Parts that were reused without being read.
    pub reused: PartTally,
    /// Objects that were sent.
    pub sent: PartTally,
    /// Objects that were read, and were in the store already.
    pub present: PartTally,
    /// The secrets that were left out; `None` if none were.
    pub left_out: Option<SecretsLeftOut>,
}
