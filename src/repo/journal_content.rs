//! The lines of a file of the journal, as far as they can be read.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::Event;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Whether the line before was cut short by a crash, as far as the writer of this one saw. The first member, so that
    /// it can be told of a line that was itself cut short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) after_cut: bool,
    /// Counts the events of the repository, whatever the clock said.
    pub(super) number: u64,
    pub(super) time: DateTime<Utc>,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// The member that every line has, even lines of a newer chsnap: its number counts, whatever the event is.
#[derive(Deserialize)]
struct LineNumber {
    number: u64,
}

/// How a line begins that follows one which a crash cut short.
const AFTER_CUT: &[u8] = br#"{"after_cut":true"#;

/// The content of a file of the journal.
#[derive(Debug, Default)]
pub(super) struct JournalContent {
    /// The events, in the order of their lines.
    pub(super) lines: Vec<Line>,
    /// The largest number of any line, even of a newer chsnap.
    pub(super) largest: u64,
    /// The places of the lines that cannot be read, counted from 1.
    pub(super) unreadable: Vec<u64>,
    line_count: u64,
    /// Whether the last line has its newline; one that a crash cut short has none.
    pub(super) ends_well: bool,
}

impl JournalContent {
    /// Reads the lines of a file. The last one has no newline if a crash cut it short: that is no damage, and neither is
    /// one that was found cut short when the next line was written.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut content = Self { ends_well: bytes.is_empty() || bytes.ends_with(b"\n"), ..Self::default() };
        let mut texts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(text) = texts.next() {
            let is_cut_by_a_crash = texts.peek().is_none_or(|next| next.starts_with(AFTER_CUT));
            content.add(text, is_cut_by_a_crash);
        }
        content
    }

    fn add(&mut self, text: &[u8], may_be_cut: bool) {
        self.line_count += 1;
        if text.trim_ascii().is_empty() {
            return;
        }
        if let Ok(line) = serde_json::from_slice::<Line>(text) {
            self.largest = self.largest.max(line.number);
            self.lines.push(line);
            return;
        }
        if let Ok(LineNumber { number }) = serde_json::from_slice(text) {
            self.largest = self.largest.max(number);
        }
        if !may_be_cut {
            self.unreadable.push(self.line_count);
        }
    }

    /// Adds a line that was appended to the file, if it begins where the file ended.
    pub(super) fn append(&mut self, line: &[u8]) {
        // The end of a file that ends with a newline was counted as an empty line.
        self.line_count = self.line_count.saturating_sub(1);
        self.add(line.strip_suffix(b"\n").unwrap_or(line), false);
        self.line_count += 1;
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::JournalContent;

    fn line(number: u64) -> String {
        format!("{{\"number\":{number},\"time\":\"2026-11-22T17:03:06Z\",\"event\":\"restored\",\"ids\":[]}}\n")
    }

    #[test]
    fn events_of_a_newer_chsnap_are_no_gap_and_known_ones_with_wrong_members_are() {
        let newer = line(41).replace("restored", "teleported");
        let wrong = line(42).replace("[]", "7");
        let content = JournalContent::of(format!("{}{newer}\n{wrong}{}", line(1), line(2)).as_bytes());
        assert_eq!((content.unreadable.as_slice(), content.largest), (&[4][..], 42));
        assert_eq!(content.lines.len(), 3);
    }

    proptest! {
        #[test]
        fn appended_events_are_read_like_earlier_ones(
            texts in proptest::collection::vec("[a-z{]{0,9}", 0..6),
            numbers in proptest::collection::vec(any::<u64>(), 1..4),
        ) {
            let mut bytes: Vec<u8> = texts.iter().flat_map(|text| format!("{text}\n").into_bytes()).collect();
            let mut content = JournalContent::of(&bytes);
            for number in numbers {
                content.append(line(number).as_bytes());
                bytes.extend(line(number).into_bytes());
            }
            let read = JournalContent::of(&bytes);
            prop_assert_eq!(content.lines, read.lines);
            prop_assert_eq!(content.unreadable, read.unreadable);
            prop_assert_eq!((content.largest, content.line_count), (read.largest, read.line_count));
        }

        #[test]
        fn only_a_cut_at_the_end_is_ordinary(count in 1_u64..6, at in 0_u64..6, cut in 1_usize..40) {
            let lines: Vec<String> = (1..=count).map(line).collect();
            let place = usize::try_from(at % count).expect("few");
            let mut spoilt = lines.clone();
            spoilt[place] = format!("{}\n", &lines[place][..cut]);
            let content = JournalContent::of(spoilt.concat().as_bytes());
            prop_assert_eq!(content.unreadable, vec![at % count + 1]);
            // The same without its newline, as a crash leaves it, and with what the next writer puts behind it.
            let torn = format!("{}{}", lines[..place].concat(), &lines[place][..cut]);
            prop_assert!(JournalContent::of(torn.as_bytes()).unreadable.is_empty());
            let next = line(9).replacen('{', "{\"after_cut\":true,", 1);
            let ended = JournalContent::of(format!("{torn}\n{next}").as_bytes());
            prop_assert!(ended.unreadable.is_empty() && ended.ends_well);
            prop_assert_eq!(ended.lines.len(), place + 1);
        }
    }
}
