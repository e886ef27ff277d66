//! `journal/<month>.jsonl`: what happened to the repository that its snapshots do not say.

use std::ffi::OsStr;
use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, ErrorKind, FsError, Kind};

use super::error::RepoError;
use super::event::Event;
use super::lock::Locked;
use super::repository::Repository;

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// Counts the events of the repository, whatever the clock said.
    number: u64,
    time: DateTime<Utc>,
    #[serde(flatten)]
    event: Event,
}

/// What every line has, those of a newer chsnap too: its number is taken, whatever the event is.
#[derive(Deserialize)]
struct Head {
    number: u64,
}

const LIMIT_BYTES: u64 = 256 << 20;

impl Locked<'_> {
    /// Appends an event, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record(&self, now: DateTime<Utc>, event: &Event) -> Result<(), RepoError> {
        let journal = self.repository().ensure("journal")?;
        let name = format!("{}.jsonl", now.format("%Y-%m"));
        let number = self.repository().numbers()?.max().map_or(1, |number: u64| number.saturating_add(1));
        let line = Line { number, time: now, event: event.clone() };
        let mut text = serde_json::to_string(&line).expect("an event has only string keys");
        text.push('\n');
        // A line that a crash cut short has no end: ours begins on a new one, and so it does where that is not known. What is no
        // file is never opened to be written: the other end of a pipe may be nobody's.
        let is_new = match journal.find(&name)? {
            None => true,
            Some(stat) if stat.kind != Kind::File => {
                journal.find_and_read(&name, LIMIT_BYTES)?;
                false
            }
            Some(_) => false,
        };
        let ends_well = |bytes: Option<Arc<[u8]>>| bytes.is_none_or(|bytes| bytes.is_empty() || bytes.ends_with(b"\n"));
        if !self.repository().journal_file(&journal, OsStr::new(&name)).is_ok_and(ends_well) {
            text.insert(0, '\n');
        }
        journal.append(&name, 0o640, text.as_bytes())?;
        if is_new {
            journal.sync()?;
        }
        Ok(())
    }
}

impl Locked<'_> {
    /// [`Locked::record`], but a full filesystem is no failure: what makes room must not need any. Whether it is
    /// recorded is the answer.
    ///
    /// # Errors
    /// If it cannot be written for another reason.
    pub fn record_if_there_is_room(&self, now: DateTime<Utc>, event: &Event) -> Result<bool, RepoError> {
        match self.record(now, event) {
            Err(RepoError::Fs(error)) if error.kind() == ErrorKind::NoSpace => {
                let error = crate::monitor::chain(&error);
                tracing::warn!(error, "the journal has no room for what is done; undo may need the snapshot's name");
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }
}

impl Repository {
    /// The events that the journal holds, in the order in which they happened. Lines that cannot be read are passed over,
    /// and so are months that cannot ([`Repository::journal_gaps`] has them), and what is no file of a journal. A line that
    /// stands there twice is one event.
    ///
    /// # Errors
    /// If the directory of the journal is there and cannot be read.
    pub fn events(&self) -> Result<Vec<(DateTime<Utc>, Event)>, RepoError> {
        let (mut lines, _) = self.read_lines(|text| serde_json::from_slice::<Line>(text).ok())?;
        lines.sort_by_key(|line| (line.number, line.time));
        lines.dedup();
        Ok(lines.into_iter().map(|line| (line.time, line.event)).collect())
    }

    /// The months of the journal that cannot be read: what they held is not known, and nothing else is lost by it.
    ///
    /// # Errors
    /// If the directory of the journal is there and cannot be read.
    pub fn journal_gaps(&self) -> Result<Vec<JournalGap>, RepoError> {
        Ok(self.read_lines(|_| None::<()>)?.1)
    }

    fn numbers(&self) -> Result<impl Iterator<Item = u64> + use<>, RepoError> {
        let (heads, _) = self.read_lines(|text| serde_json::from_slice::<Head>(text).ok())?;
        Ok(heads.into_iter().map(|head| head.number))
    }

    /// A file of the journal, read once as long as it stays the same: lines are only ever appended. `None` where it has gone.
    fn journal_file(&self, journal: &Dir, name: &OsStr) -> Result<Option<Arc<[u8]>>, FsError> {
        let Some(now) = journal.find(name)? else { return Ok(None) };
        let state = (now.device, now.inode, now.size_bytes, now.modified);
        // What a network filesystem says of a file may be seconds old.
        if fs::is_network_filesystem(journal) {
            return Ok(journal.find_and_read(name, LIMIT_BYTES)?.map(Arc::from));
        }
        let mut read = self.journal_read().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, bytes)) = read.get(name)
            && *known == state
        {
            return Ok(Some(Arc::clone(bytes)));
        }
        let Some((stat, bytes)) = journal.find_with_stat(name, LIMIT_BYTES)? else { return Ok(None) };
        let bytes: Arc<[u8]> = bytes.into();
        let state = (stat.device, stat.inode, stat.size_bytes, stat.modified);
        read.insert(name.to_owned(), (state, Arc::clone(&bytes)));
        Ok(Some(bytes))
    }

    fn read_lines<T>(&self, line: impl Fn(&[u8]) -> Option<T>) -> Result<(Vec<T>, Vec<JournalGap>), RepoError> {
        let (mut lines, mut gaps) = (Vec::new(), Vec::new());
        let Some(journal) = self.find_dir("journal")? else { return Ok((lines, gaps)) };
        for entry in journal.entries_with_kind()? {
            let file = entry.name.to_string_lossy().into_owned();
            if entry.kind == Kind::File && entry.name.to_string_lossy().ends_with(".jsonl") {
                match self.journal_file(&journal, &entry.name) {
                    Ok(None) => {}
                    Ok(Some(bytes)) => lines.extend(bytes.split(|byte| *byte == b'\n').filter_map(&line)),
                    Err(error) => gaps.push(JournalGap { file, reason: crate::monitor::chain(&error) }),
                }
            }
        }
        Ok((lines, gaps))
    }
}

/// A month of the journal that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalGap {
    /// Its file in `journal/`.
    pub file: String,
    /// Why it cannot be read.
    pub reason: String,
}
