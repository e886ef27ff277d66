//! `journal/<month>.jsonl`: what happened to the repository that its snapshots do not record.

use std::ffi::OsStr;
use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, EntryKind, ErrorKind, FsError};

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

/// The member that every line has, even lines of a newer chsnap: its number counts, whatever the event is.
#[derive(Deserialize)]
struct LineNumber {
    number: u64,
}

const LIMIT_BYTES: u64 = 256 << 20;

/// Once a file of the journal is this long, it gets no more lines: the month continues in the next file, so that no
/// file grows beyond what is read of it.
const FULL_BYTES: u64 = 64 << 20;
const FILES_A_MONTH: u32 = 1000;
/// No line is shorter: `{"number":1}` and its newline.
const SHORTEST_LINE_BYTES: u64 = 13;

/// The file that the next line goes to.
struct JournalFile {
    name: String,
    is_new: bool,
    /// Whether the last line has its newline; a line that a crash cut short has none.
    ends_well: bool,
}

impl Locked<'_> {
    /// Appends an event, durably. Its number exceeds every number in the journal, including those in files that cannot
    /// be read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record(&self, now: DateTime<Utc>, event: &Event) -> Result<(), RepoError> {
        let journal = self.repository().ensure("journal")?;
        let target = self.repository().target(&journal, now)?;
        let line = Line { number: self.repository().next_number(now)?, time: now, event: event.clone() };
        let mut text = serde_json::to_string(&line).expect("an event has only string keys");
        text.push('\n');
        if !target.ends_well {
            text.insert(0, '\n');
        }
        journal.append(&target.name, 0o640, text.as_bytes())?;
        self.repository().extend_read(&journal, &target.name, text.as_bytes());
        if target.is_new {
            journal.sync()?;
        }
        Ok(())
    }
}

impl Locked<'_> {
    /// Works as [`Locked::record`], but a full filesystem is not a failure: operations that make room must not need
    /// any. Returns whether the event was recorded.
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
    /// The events that the journal holds, in the order in which they happened. Skips lines that cannot be read, months
    /// that cannot be read ([`Repository::journal_gaps`] lists them), and entries that are not files of a journal. A
    /// line that occurs twice is one event.
    ///
    /// # Errors
    /// If the directory of the journal is there and cannot be read.
    pub fn events(&self) -> Result<Vec<(DateTime<Utc>, Event)>, RepoError> {
        let (mut lines, _) = self.read_lines(|text| serde_json::from_slice::<Line>(text).ok())?;
        lines.sort_by_key(|line| (line.number, line.time));
        lines.dedup();
        Ok(lines.into_iter().map(|line| (line.time, line.event)).collect())
    }

    /// The months of the journal that cannot be read: their events are unknown, and nothing else is lost.
    ///
    /// # Errors
    /// If the directory of the journal is there and cannot be read.
    pub fn journal_gaps(&self) -> Result<Vec<JournalGap>, RepoError> {
        Ok(self.read_lines(|_| None::<()>)?.1)
    }

    /// Returns a number above all that were given. The size of an unreadable file limits how many lines it can hold;
    /// but not how high their numbers are, because other files may have been unreadable when they were written. So if
    /// any file is unreadable, the number is at least the milliseconds since 1970, which is far above every count.
    fn next_number(&self, now: DateTime<Utc>) -> Result<u64, RepoError> {
        let (numbers, gaps) =
            self.read_lines(|text| serde_json::from_slice::<LineNumber>(text).ok().map(|head| head.number))?;
        let largest = numbers.into_iter().max().unwrap_or(0);
        let hidden = gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(gap.size_bytes / SHORTEST_LINE_BYTES + 1));
        let least = if gaps.is_empty() { 0 } else { u64::try_from(now.timestamp_millis()).unwrap_or(0) };
        Ok(largest.saturating_add(hidden).saturating_add(1).max(least))
    }

    /// The first file of a month that has room and can be read: lines appended to another one may never be read. An
    /// entry that is not a file is never opened: opening a pipe could block forever.
    fn target(&self, journal: &Dir, now: DateTime<Utc>) -> Result<JournalFile, RepoError> {
        let month = now.format("%Y-%m").to_string();
        for count in 1..=FILES_A_MONTH {
            let name = if count == 1 { format!("{month}.jsonl") } else { format!("{month}-{count}.jsonl") };
            let Some(stat) = journal.find(&name)? else {
                return Ok(JournalFile { name, is_new: true, ends_well: true });
            };
            if stat.kind != EntryKind::File || stat.size_bytes >= FULL_BYTES {
                continue;
            }
            match self.journal_file(journal, OsStr::new(&name)) {
                Ok(bytes) => {
                    let ends_well = bytes.as_ref().is_none_or(|bytes| bytes.is_empty() || bytes.ends_with(b"\n"));
                    return Ok(JournalFile { name, is_new: bytes.is_none(), ends_well });
                }
                Err(error) => {
                    tracing::debug!(name, error = crate::monitor::chain(&error), "the line goes to another file");
                }
            }
        }
        let reason = format!("no file of {month} in it can be appended to");
        Err(RepoError::Damaged { path: journal.path().to_owned(), reason })
    }

    /// Returns a file of the journal, read once as long as it stays the same: lines are only ever appended. Returns
    /// `None` if it is gone.
    fn journal_file(&self, journal: &Dir, name: &OsStr) -> Result<Option<Arc<[u8]>>, FsError> {
        let Some(now) = journal.find(name)? else { return Ok(None) };
        let state = (now.device, now.inode, now.size_bytes, now.modified);
        // On a network filesystem, the attributes of a file may be seconds old.
        if fs::is_network_filesystem(journal) {
            return Ok(journal.find_and_read(name, LIMIT_BYTES)?.map(Arc::from));
        }
        let mut read = self.journal_read().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, bytes)) = read.get(name)
            && *known == state
        {
            return Ok(Some(Arc::clone(bytes)));
        }
        tracing::debug!(name = name.to_string_lossy().as_ref(), "a file of the journal is read");
        let Some((stat, bytes)) = journal.find_with_stat(name, LIMIT_BYTES)? else { return Ok(None) };
        let bytes: Arc<[u8]> = bytes.into();
        let state = (stat.device, stat.inode, stat.size_bytes, stat.modified);
        read.insert(name.to_owned(), (state, Arc::clone(&bytes)));
        Ok(Some(bytes))
    }

    /// Adds a line that was just appended to the cached content of a file, so that it need not be read again.
    fn extend_read(&self, journal: &Dir, name: &str, line: &[u8]) {
        let mut read = self.journal_read().lock().unwrap_or_else(PoisonError::into_inner);
        let before = read.remove(OsStr::new(name)).map(|(_, bytes)| bytes).unwrap_or_default();
        let Ok(Some(stat)) = journal.find(name) else { return };
        let bytes: Arc<[u8]> = [&before, line].concat().into();
        // Another length means that another process has written.
        if stat.size_bytes == bytes.len() as u64 {
            read.insert(name.into(), ((stat.device, stat.inode, stat.size_bytes, stat.modified), bytes));
        }
    }

    fn read_lines<T>(&self, line: impl Fn(&[u8]) -> Option<T>) -> Result<(Vec<T>, Vec<JournalGap>), RepoError> {
        let (mut lines, mut gaps) = (Vec::new(), Vec::new());
        let Some(journal) = self.find_dir("journal")? else { return Ok((lines, gaps)) };
        for entry in journal.entries_with_kind()? {
            let file = entry.name.to_string_lossy().into_owned();
            if entry.kind == EntryKind::File && entry.name.to_string_lossy().ends_with(".jsonl") {
                match self.journal_file(&journal, &entry.name) {
                    Ok(None) => {}
                    Ok(Some(bytes)) => lines.extend(bytes.split(|byte| *byte == b'\n').filter_map(&line)),
                    Err(error) => {
                        let size_bytes = journal.find(&entry.name).ok().flatten().map_or(0, |stat| stat.size_bytes);
                        gaps.push(JournalGap { file, reason: crate::monitor::chain(&error), size_bytes });
                    }
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
    /// Its size.
    pub size_bytes: u64,
}
