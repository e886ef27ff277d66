//! Asks the server to freeze a table, or partitions of it.

use std::time::Duration;

use rayon::ThreadPool;

use crate::model::{FreezeName, PartitionId, TableName};
use crate::ops::stages::Stages;
use crate::ops::waiting::with_progress_notes;
use crate::plan::{FreezeScope, PARTITIONS_OF_A_STATEMENT};
use crate::server::{self, FreezeQuery, Server};

/// Sends freezes.
#[derive(Clone, Copy)]
pub(super) struct Freezer<'a> {
    pub(super) server: &'a Server,
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a ThreadPool,
    /// The server's threads for one freeze, on servers that allow setting it.
    pub(super) threads: Option<u16>,
    /// How long a freeze runs before the person is notified what it waits for.
    pub(super) patience: Duration,
}

impl Freezer<'_> {
    /// Freezes a table. `concurrently` runs at the same time and reads the files that the freeze leaves out of its parts.
    ///
    /// The server does not remove a part while FREEZE is processing it. A part removed right afterwards, before it was
    /// read here, is recognized by that (see [`LeftOutFiles::Unknown`]), and its table is frozen again.
    pub(super) fn freeze<T: Send>(
        &self,
        table: &TableName,
        scope: &FreezeScope,
        name: &FreezeName,
        query_id: &str,
        concurrently: impl FnOnce() -> T + Send,
    ) -> (Result<(), server::ServerError>, T) {
        let ask = || server::waits_on(self.server, table, name, query_id);
        let notify = |waited: Duration, lines: Vec<String>| {
            let (monitor, seconds) = (self.stages.monitor(), waited.as_secs());
            if lines.is_empty() {
                monitor
                    .note(&format!("FREEZE of {table} has been running for {seconds} s; no blocking query was found"));
            }
            for line in lines {
                monitor.note(&format!("FREEZE of {table} has been running for {seconds} s; {line}"));
            }
        };
        let threads = self.threads;
        let freeze = || match scope {
            FreezeScope::Nothing => Ok(()),
            FreezeScope::Whole => server::freeze_table(self.server, table, FreezeQuery { name, query_id, threads }),
            FreezeScope::Partitions(partitions) => {
                let partitions: Vec<&PartitionId> = partitions.iter().collect();
                let mut statements = partitions.chunks(PARTITIONS_OF_A_STATEMENT).enumerate();
                statements.try_for_each(|(number, some)| {
                    let query_id = &format!("{query_id}-{number}");
                    server::freeze_partitions(self.server, table, some, FreezeQuery { name, query_id, threads })
                })
            }
        };
        std::thread::scope(|scope| {
            let meanwhile = scope.spawn(|| self.pool.install(concurrently));
            let frozen = with_progress_notes(self.patience, ask, notify, freeze);
            (frozen, meanwhile.join().expect("neither reading small files nor linking panics"))
        })
    }
}
