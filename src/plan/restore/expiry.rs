//! Rows past their TTL, according to the parts' `ttl.txt`.

use serde::Deserialize;

/// When the rows of a part expire, in seconds since 1970.
///
/// Source: `MergeTreeDataPartTTLInfos::write` in ClickHouse: `ttl format version: 1`, a line feed, and a JSON object
/// whose `table` and `rows_where` contain the smallest and the largest time of the rows; 0 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryTimes {
    /// When the first row expires.
    pub first: i64,
    /// When the last row expires; `None` if some rows never do.
    pub last: Option<i64>,
}

#[derive(Deserialize)]
struct Times {
    #[serde(default)]
    min: i64,
    #[serde(default)]
    max: i64,
}

#[derive(Deserialize)]
struct TtlFile {
    table: Option<Times>,
    #[serde(default)]
    rows_where: Vec<Times>,
}

const HEAD: &str = "ttl format version: 1\n";

impl ExpiryTimes {
    /// Parses a part's `ttl.txt`; `None` if it has another format, or no row of the part expires.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let file: TtlFile = serde_json::from_str(text.strip_prefix(HEAD)?).ok()?;
        let has_rows = |times: &&Times| times.min > 0;
        let all = file.table.iter().filter(has_rows);
        let some = file.rows_where.iter().filter(has_rows);
        let first = all.clone().chain(some).map(|times| times.min).min()?;
        Some(Self { first, last: all.map(|times| times.max).max() })
    }
}

/// Parts and rows past their TTL: these expire as soon as the table merges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Parts with all rows past their TTL.
    pub parts: u64,
    /// Rows in them.
    pub rows: u64,
    /// Parts with some rows that may be past their TTL.
    pub partly_parts: u64,
    /// All rows in those parts.
    pub partly_rows: u64,
}

impl Expired {
    /// Adds a part with its rows, at a time in seconds since 1970.
    pub fn count(&mut self, times: ExpiryTimes, rows: u64, now: i64) {
        if times.last.is_some_and(|last| last < now) {
            self.parts += 1;
            self.rows = self.rows.saturating_add(rows);
        } else if times.first < now {
            self.partly_parts += 1;
            self.partly_rows = self.partly_rows.saturating_add(rows);
        }
    }

    /// Whether no row is past its TTL.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.parts == 0 && self.partly_parts == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Expired, ExpiryTimes};

    #[test]
    fn times_are_read_as_the_server_writes_them() {
        let read = |json: &str| ExpiryTimes::parse(&format!("ttl format version: 1\n{json}"));
        let whole = r#"{"columns":[{"name":"v","min":9,"max":9,"finished":0}],"table":{"min":10,"max":20,"finished":0},"rows_where":[{"expression":"e","min":0,"max":0,"finished":0}]}"#;
        assert_eq!(read(whole), Some(ExpiryTimes { first: 10, last: Some(20) }));
        let some = r#"{"rows_where":[{"expression":"e","min":5,"max":7,"finished":0}]}"#;
        assert_eq!(read(some), Some(ExpiryTimes { first: 5, last: None }));
        let none = r#"{"group_by":[{"expression":"e","min":5,"max":7,"finished":0}]}"#;
        assert_eq!((read(none), read("{"), ExpiryTimes::parse("other")), (None, None, None));
    }

    #[test]
    fn parts_are_counted_as_past_it_wholly_or_partly() {
        let mut expired = Expired::default();
        let times = |first, last| ExpiryTimes { first, last };
        expired.count(times(10, Some(20)), 100, 21);
        expired.count(times(10, Some(20)), 7, 15);
        expired.count(times(10, Some(20)), 7, 5);
        expired.count(times(10, None), 3, 50);
        assert_eq!(expired, Expired { parts: 1, rows: 100, partly_parts: 2, partly_rows: 10 });
    }
}
