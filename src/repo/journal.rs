//! `journal/<month>.jsonl`: what happened to the repository that its snapshots do not record.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::PoisonError;

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, EntryKind, ErrorKind, FsError};

use super::error::RepoError;
use super::event::Event;
use super::index::Index;
use super::journal_content::{JournalContent, Line};
use super::lock::Locked;
use super::remembered;
use super::repository::Repository;

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
        let number = self.repository().next_number(now);
        let line = Line { after_cut: !target.ends_well, number, time: now, event: event.clone() };
        let mut text = serde_json::to_string(&line).expect("an event has only string keys");
        text.push('\n');
        if !target.ends_well {
            text.insert(0, '\n');
        }
        journal.append(&target.name, 0o640, text.as_bytes())?;
        self.repository().extend_read(&journal, &target, text.as_bytes());
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
                tracing::warn!(
                    error,
                    "there is no space to record this in the journal; undo may need the snapshot's name"
                );
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }
}

impl Repository {
    /// The events that the journal holds, in the order in which they happened. Skips what cannot be read
    /// ([`Repository::journal_gaps`] lists it), events of a newer chsnap, and entries that are not part of the journal.
    /// A line that occurs twice is one event. While anything cannot be read, the lines about damage that the index
    /// remembers are added.
    #[must_use]
    pub fn events(&self) -> Vec<(DateTime<Utc>, Event)> {
        let (mut lines, mut is_whole) = (Vec::new(), true);
        let mut all_files = true;
        let look = |_: &str, content: &JournalContent| {
            is_whole &= content.unreadable.is_empty();
            lines.extend(content.lines.iter().cloned());
        };
        self.read_journal(look, |_| all_files = false);
        if !(is_whole && all_files) {
            lines.extend(Index::remembered_lines(self));
        }
        sort_and_dedup(&mut lines);
        lines.retain(|line| line.event != Event::Newer);
        lines.into_iter().map(|line| (line.time, line.event)).collect()
    }

    /// The lines that known damage depends on, in their order; none if no line notes damage. `None` if a part of the
    /// journal cannot be read.
    pub(super) fn lines_about_damage(&self) -> Option<Vec<Line>> {
        let (mut lines, mut is_whole, mut has_damage) = (Vec::new(), true, false);
        let mut all_files = true;
        let look = |_: &str, content: &JournalContent| {
            is_whole &= content.unreadable.is_empty();
            has_damage |= content.lines.iter().any(remembered::notes_damage);
            lines.extend(content.lines.iter().filter(|line| remembered::is_of_checks(line)).cloned());
        };
        self.read_journal(look, |_| all_files = false);
        if !has_damage {
            lines.clear();
        }
        sort_and_dedup(&mut lines);
        (is_whole && all_files).then_some(lines)
    }

    /// The parts of the journal that cannot be read, in the order of the files' names. Their events are unknown, and nothing
    /// else is lost.
    #[must_use]
    pub fn journal_gaps(&self) -> Vec<JournalGap> {
        let (mut gaps, mut unreadable) = (Vec::new(), Vec::new());
        let garbled = |file: &str, content: &JournalContent| {
            if !content.unreadable.is_empty() {
                let reason = "cut short or garbled".to_owned();
                let (file, lines) = (file.to_owned(), content.unreadable.clone());
                gaps.push(JournalGap { file, lines, reason, size_bytes: 0 });
            }
        };
        self.read_journal(garbled, |gap| unreadable.push(gap));
        gaps.append(&mut unreadable);
        gaps.sort_by(|one, other| one.file.cmp(&other.file));
        gaps
    }

    /// Returns a number above all that were given. The size of an unreadable file limits how many lines it can hold;
    /// but not how high their numbers are, because other files may have been unreadable when they were written. So if
    /// any file is unreadable, the number is at least the milliseconds since 1970, which is far above every count.
    fn next_number(&self, now: DateTime<Utc>) -> u64 {
        let (mut largest, mut gaps) = (0, Vec::new());
        self.read_journal(|_, content| largest = content.largest.max(largest), |gap| gaps.push(gap));
        let hidden = gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(gap.size_bytes / SHORTEST_LINE_BYTES + 1));
        let least = if gaps.is_empty() { 0 } else { u64::try_from(now.timestamp_millis()).unwrap_or(0) };
        largest.saturating_add(hidden).saturating_add(1).max(least)
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
            match self.read_journal_file(journal, OsStr::new(&name), |content| content.ends_well) {
                Ok(ends_well) => {
                    let (is_new, ends_well) = (ends_well.is_none(), ends_well.unwrap_or(true));
                    return Ok(JournalFile { name, is_new, ends_well });
                }
                Err(error) => {
                    tracing::debug!(name, error = crate::monitor::chain(&error), "the line goes to another file");
                }
            }
        }
        let reason = format!("no file of {month} in it can be appended to");
        Err(RepoError::Damaged { path: journal.path().to_owned(), reason })
    }

    /// Calls `look` with the content of a file of the journal, which is read once as long as it stays the same: lines
    /// are only ever appended. Returns `None` if the file is gone.
    fn read_journal_file<T>(
        &self,
        journal: &Dir,
        name: &OsStr,
        look: impl FnOnce(&JournalContent) -> T,
    ) -> Result<Option<T>, FsError> {
        let Some(now) = journal.find(name)? else { return Ok(None) };
        let state = (now.device, now.inode, now.size_bytes, now.modified);
        // On a network filesystem, the attributes of a file may be seconds old.
        if fs::is_network_filesystem(journal) {
            let bytes = journal.find_and_read(name, LIMIT_BYTES)?;
            return Ok(bytes.map(|bytes| look(&JournalContent::of(&bytes))));
        }
        let mut read = self.journal_read().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, content)) = read.get(name)
            && *known == state
        {
            return Ok(Some(look(content)));
        }
        tracing::debug!(name = name.to_string_lossy().as_ref(), "a file of the journal is read");
        let Some((stat, bytes)) = journal.find_with_stat(name, LIMIT_BYTES)? else { return Ok(None) };
        let content = JournalContent::of(&bytes);
        let found = look(&content);
        let state = (stat.device, stat.inode, stat.size_bytes, stat.modified);
        read.insert(name.to_owned(), (state, content));
        Ok(Some(found))
    }

    /// Adds a line that was just appended to the cached content of a file, so that it need not be read again.
    fn extend_read(&self, journal: &Dir, target: &JournalFile, line: &[u8]) {
        let mut read = self.journal_read().lock().unwrap_or_else(PoisonError::into_inner);
        let name = OsStr::new(&target.name);
        let before = read.remove(name);
        // A line that was cut short is counted again with the one that follows it.
        if !target.ends_well {
            return;
        }
        let ((_, _, size_bytes, _), mut content) =
            before.unwrap_or_else(|| ((0, 0, 0, (0, 0)), JournalContent::of(b"")));
        let Ok(Some(stat)) = journal.find(name) else { return };
        content.append(line);
        // Another length means that another process has written.
        if stat.size_bytes == size_bytes + line.len() as u64 {
            read.insert(name.to_owned(), ((stat.device, stat.inode, stat.size_bytes, stat.modified), content));
        }
    }

    /// Calls `look` with each file of the journal that can be read, and `miss` with what cannot be read.
    fn read_journal(&self, mut look: impl FnMut(&str, &JournalContent), mut miss: impl FnMut(JournalGap)) {
        let whole = |error: RepoError| {
            let reason = crate::monitor::chain(&error);
            JournalGap { file: String::new(), lines: Vec::new(), reason, size_bytes: 0 }
        };
        let journal = match self.find_dir("journal") {
            Ok(Some(journal)) => journal,
            Ok(None) => return,
            Err(error) => return miss(whole(error)),
        };
        let entries = match journal.entries_with_kind() {
            Ok(entries) => entries,
            Err(error) => return miss(whole(error.into())),
        };
        for entry in entries {
            let file = entry.name.to_string_lossy().into_owned();
            if Path::new(&entry.name).extension().is_none_or(|end| end != "jsonl") {
                continue;
            }
            let gap = |reason| {
                let size_bytes = journal.find(&entry.name).ok().flatten().map_or(0, |stat| stat.size_bytes);
                JournalGap { file: file.clone(), lines: Vec::new(), reason, size_bytes }
            };
            if entry.kind != EntryKind::File {
                miss(gap(format!("it is {}, and not a file", entry.kind.name())));
                continue;
            }
            if let Err(error) = self.read_journal_file(&journal, &entry.name, |content| look(&file, content)) {
                miss(gap(crate::monitor::chain(&error)));
            }
        }
    }
}

fn sort_and_dedup(lines: &mut Vec<Line>) {
    lines.sort_by_key(|line| (line.number, line.time));
    lines.dedup();
}

/// A part of the journal that cannot be read: lines of a file, a file, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalGap {
    /// The file in `journal/`; empty if the directory itself cannot be read.
    pub file: String,
    /// The lines that cannot be read, counted from 1; empty if the whole file cannot be.
    pub lines: Vec<u64>,
    /// Why.
    pub reason: String,
    /// The size of a file that cannot be read at all.
    size_bytes: u64,
}
