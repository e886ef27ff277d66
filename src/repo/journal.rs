//! `journal/<month>.jsonl`: what happened to the repository that its snapshots do not say.

use std::ffi::OsStr;
use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, ErrorKind, Kind};

use super::error::RepoError;
use super::event::Event;
use super::lock::Locked;
use super::repository::Repository;

#[derive(Serialize, Deserialize)]
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
        let number = self.repository().numbers()?.max().map_or(1, |number| number.saturating_add(1));
        let line = Line { number, time: now, event: event.clone() };
        let mut text = serde_json::to_string(&line).expect("an event has only string keys");
        text.push('\n');
        let present = self.repository().journal_file(&journal, OsStr::new(&name))?;
        // A line that a crash cut short has no end: ours begins on a new one.
        if present.as_ref().is_some_and(|bytes| !bytes.is_empty() && !bytes.ends_with(b"\n")) {
            text.insert(0, '\n');
        }
        journal.append(&name, 0o640, text.as_bytes())?;
        if present.is_none() {
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
    /// The events that the journal holds, in the order in which they happened. Lines that cannot be read are passed
    /// over, and so is what is no file of a journal.
    ///
    /// # Errors
    /// If the journal is there and cannot be read.
    pub fn events(&self) -> Result<Vec<(DateTime<Utc>, Event)>, RepoError> {
        Ok(self.lines()?.into_iter().map(|line| (line.time, line.event)).collect())
    }

    fn lines(&self) -> Result<Vec<Line>, RepoError> {
        let mut lines: Vec<Line> = self.read_lines(|text| serde_json::from_slice(text).ok())?;
        lines.sort_by_key(|line| line.number);
        Ok(lines)
    }

    fn numbers(&self) -> Result<impl Iterator<Item = u64>, RepoError> {
        let heads: Vec<Head> = self.read_lines(|text| serde_json::from_slice(text).ok())?;
        Ok(heads.into_iter().map(|head| head.number))
    }

    /// A file of the journal, read once as long as it stays the same: lines are only ever appended. `None` where it has gone.
    fn journal_file(&self, journal: &Dir, name: &OsStr) -> Result<Option<Arc<[u8]>>, RepoError> {
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

    fn read_lines<T>(&self, line: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>, RepoError> {
        let Some(journal) = self.find_dir("journal")? else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        for entry in journal.entries_with_kind()? {
            if entry.kind == Kind::File && entry.name.to_string_lossy().ends_with(".jsonl") {
                let Some(bytes) = self.journal_file(&journal, &entry.name)? else { continue };
                lines.extend(bytes.split(|byte| *byte == b'\n').filter_map(&line));
            }
        }
        Ok(lines)
    }
}
