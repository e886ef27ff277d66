//! One round of freezes: all its tables at once, and another look at the server when the last of them is frozen.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::fs::Dir;
use crate::model::{Catalog, FreezeName, Look};
use crate::ops::error::OpError;
use crate::ops::waiting::patiently;
use crate::plan::{Scope, TableFreeze};
use crate::repo::Incoming;
use crate::server::{self, Definitions, FunctionRow};

use super::attempt::{Attempt, Definition, IsDefined, Target};
use super::definitions::functions;
use super::table::Statement;
use super::taker::Taker;
use crate::ops::disks::LocalDisk;

/// What a round gave.
pub(super) struct Round {
    /// Its tables.
    pub(super) attempts: Vec<Attempt>,
    /// The server after the last of them was frozen.
    pub(super) after: Catalog,
    /// Its functions then, where they belong in the snapshot.
    pub(super) functions: Vec<FunctionRow>,
}

/// The server after a round, as far as it was asked.
struct SecondLook {
    /// The definitions as the server prints them, where a file of one could not be read.
    printed: Definitions,
    catalog: Catalog,
    functions: Vec<FunctionRow>,
}

/// A table to be taken.
struct Job {
    freeze: TableFreeze,
    target: Target,
    query_id: String,
    frozen: Sender<IsDefined>,
}

impl Taker<'_> {
    /// Takes tables, as many at once as `--freeze-jobs` says.
    ///
    /// # Errors
    /// If one of them fails for another reason than the server's refusal, or the server cannot be asked again.
    pub(super) fn round(
        &self,
        freezes: Vec<TableFreeze>,
        data: &Dir,
        name: &FreezeName,
        incoming: &Incoming<'_>,
        earlier: &Look,
    ) -> Result<Round, OpError> {
        let count = freezes.len();
        let (sender, frozen) = mpsc::channel();
        let mut queue = VecDeque::new();
        for (number, freeze) in freezes.into_iter().enumerate() {
            let target = Target::new(data, freeze.table.name());
            let query_id = format!("{}-{}-{number}", incoming.intent().query_id_prefix, name.as_str());
            queue.push_back(Job { freeze, target, query_id, frozen: sender.clone() });
        }
        drop(sender);
        let queue = Mutex::new(queue);
        let done = Mutex::new((Vec::new(), None));
        // Takes the next table; whether that asked the server for a freeze.
        let take_next = || -> Option<bool> {
            let Job { freeze, target, query_id, frozen } =
                queue.lock().expect("no thread panics with the queue").pop_front()?;
            let asks = freeze.scope != Scope::Nothing;
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
            attempt.definition = text.map(|text| Definition { text: text.into_bytes(), is_file: false });
        }
        Ok(Round { attempts, after: catalog, functions })
    }

    /// Waits until all of `count` tables are frozen, and looks at the server again, while the parts are checked.
    ///
    /// Definitions whose files cannot be read here are asked for first: one that is the same at both looks is then the
    /// one that was in force when its table was frozen. Where a table failed nobody will look at the answer.
    fn look_again(&self, count: usize, frozen: Receiver<IsDefined>, earlier: &Look) -> Result<SecondLook, OpError> {
        let frozen: Vec<IsDefined> = frozen.into_iter().collect();
        if frozen.len() < count {
            return Err(OpError::Interrupted);
        }
        let names_system = self.request.selection.names_system();
        let printed = if frozen.iter().all(|IsDefined(is_defined)| *is_defined) {
            Definitions::default()
        } else {
            server::definitions(self.server, names_system)?
        };
        let survey = || server::survey_again(self.server, names_system, earlier);
        let catalog = patiently(self.server, self.request.patience, self.stages.monitor(), survey)?;
        let functions = functions(self.server, self.request)?;
        Ok(SecondLook { printed, catalog, functions })
    }

    /// Whether the server has the counter of its freezes already. The freeze that makes it must be alone: another one
    /// at that moment finds it empty, and fails.
    fn has_counter(&self) -> bool {
        let counter = |own: &LocalDisk| {
            own.dir.find_beneath(Path::new("shadow"))?.map_or(Ok(None), |dir| dir.find("increment.txt"))
        };
        self.local.own().is_some_and(|own| counter(own).is_ok_and(|found| found.is_some()))
    }
}
