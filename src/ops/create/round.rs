//! One round of freezes: all its tables concurrently, and another look at the server when the last of them is frozen.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::fs::Dir;
use crate::model::{Catalog, CatalogFingerprint, FreezeName};
use crate::ops::error::OpError;
use crate::ops::waiting::notify_slow_list;
use crate::plan::{FreezeScope, TableFreeze};
use crate::repo::Incoming;
use crate::server::{self, FunctionRow, ServerDefinitions};

use super::attempt::{DefinitionText, DefinitionWasRead, SnapshotTableDir, TableAttempt};
use super::definitions::functions;
use super::table::Statement;
use super::table_freezer::TableFreezer;
use crate::ops::disks::LocalDisk;

/// The result of a round.
pub(super) struct Round {
    /// Its tables.
    pub(super) attempts: Vec<TableAttempt>,
    /// The server's catalog after the last of them was frozen.
    pub(super) after: Catalog,
    /// Its functions at that time, if they belong in the snapshot.
    pub(super) functions: Vec<FunctionRow>,
}

/// The state of the server after a round.
struct SecondLook {
    /// The definitions as the server prints them, if a definition file could not be read.
    printed: ServerDefinitions,
    catalog: Catalog,
    functions: Vec<FunctionRow>,
}

/// A table to be taken.
struct FreezeJob {
    freeze: TableFreeze,
    target: SnapshotTableDir,
    query_id: String,
    frozen: Sender<DefinitionWasRead>,
}

impl TableFreezer<'_> {
    /// Takes tables, as many concurrently as `--freeze-jobs` allows.
    ///
    /// # Errors
    /// If one of them fails for a reason other than a refusal by the server, or the server cannot be asked again.
    pub(super) fn round(
        &self,
        freezes: Vec<TableFreeze>,
        data: &Dir,
        name: &FreezeName,
        incoming: &Incoming<'_>,
        earlier: &CatalogFingerprint,
    ) -> Result<Round, OpError> {
        let count = freezes.len();
        let (sender, frozen) = mpsc::channel();
        let mut queue = VecDeque::new();
        for (number, freeze) in freezes.into_iter().enumerate() {
            let target = SnapshotTableDir::new(data, freeze.table.name());
            let query_id = format!("{}-{}-{number}", incoming.intent().query_id_prefix, name.as_str());
            queue.push_back(FreezeJob { freeze, target, query_id, frozen: sender.clone() });
        }
        drop(sender);
        let queue = Mutex::new(queue);
        let done = Mutex::new((Vec::new(), None));
        // Takes the next table; returns whether that sent a freeze to the server.
        let take_next = || -> Option<bool> {
            let FreezeJob { freeze, target, query_id, frozen } =
                queue.lock().expect("no thread panics with the queue").pop_front()?;
            let asks = freeze.scope != FreezeScope::Nothing;
            let result = if self.server.interrupted().load(Ordering::Relaxed) {
                Err(OpError::Interrupted)
            } else {
                self.take(freeze, target, Statement { name, query_id: &query_id }, frozen)
            };
            let mut done = done.lock().expect("no thread panics with the results");
            match result {
                Ok(attempt) => done.0.push(attempt),
                Err(error) => {
                    done.1.get_or_insert(error);
                    queue.lock().expect("no thread panics with the queue").clear();
                }
            }
            Some(asks)
        };
        let look = std::thread::scope(|scope| {
            let look = scope.spawn(|| self.look_again(count, frozen, earlier));
            if !self.has_counter() {
                while take_next() == Some(false) {}
            }
            for _ in 0..self.request.freeze_jobs.max(1) {
                scope.spawn(|| while take_next().is_some() {});
            }
            look.join().expect("asking the server does not panic")
        });
        let (mut attempts, error) = done.into_inner().expect("no thread panics with the results");
        if let Some(error) = error {
            return Err(error);
        }
        let SecondLook { mut printed, catalog, functions } = look?;
        for attempt in attempts.iter_mut().filter(|attempt| attempt.definition.is_none()) {
            let text = printed.remove(attempt.freeze.table.name());
            attempt.definition = text.map(|text| DefinitionText { text: text.into_bytes(), is_file: false });
        }
        Ok(Round { attempts, after: catalog, functions })
    }

    /// Waits until all `count` tables are frozen, and looks at the server again while the parts are checked.
    ///
    /// Definitions whose files cannot be read here are read first: a definition that is the same at both looks was in
    /// force when its table was frozen. If a table failed, the answer will not be used.
    fn look_again(
        &self,
        count: usize,
        frozen: Receiver<DefinitionWasRead>,
        earlier: &CatalogFingerprint,
    ) -> Result<SecondLook, OpError> {
        let frozen: Vec<DefinitionWasRead> = frozen.into_iter().collect();
        if frozen.len() < count {
            return Err(OpError::Interrupted);
        }
        let names_system = self.request.selection.names_system();
        let printed = if frozen.iter().all(|DefinitionWasRead(is_defined)| *is_defined) {
            ServerDefinitions::default()
        } else {
            server::definitions(self.server, names_system)?
        };
        let survey = || server::survey_again(self.server, names_system, earlier);
        let catalog = notify_slow_list(self.server, self.request.patience, self.context.stages.monitor(), survey)?;
        let functions = functions(self.server, self.request)?;
        Ok(SecondLook { printed, catalog, functions })
    }

    /// Whether the server already has the counter of its freezes. The freeze that creates it must be alone: a
    /// concurrent one finds it empty, and fails.
    fn has_counter(&self) -> bool {
        let counter = |own: &LocalDisk| {
            own.dir.find_beneath(Path::new("shadow"))?.map_or(Ok(None), |dir| dir.find("increment.txt"))
        };
        self.context.local.own().is_some_and(|own| counter(own).is_ok_and(|found| found.is_some()))
    }
}
