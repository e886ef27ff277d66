//! restic's own cases: the snapshots and policies of `TestApplyPolicy` in its `internal/data/snapshot_policy_test.go`,
//! and the expected results in `internal/data/testdata/policy_keep_snapshots_N` (BSD-2-Clause, the restic authors).

use chrono::{DateTime, Utc};

use super::{kept, policy, time};
use crate::plan::retention::{Candidate, decide};

/// Days of a month at 10:20:30, as restic's list repeats them; `13+` is a tenth of a second later.
const SERIES: [(&str, &str); 8] = [
    ("2014-09", "01 02 05 06 08 09 10 11 20 22"),
    ("2014-08", "08 10 12 13 13+ 15 18 20 21 22"),
    ("2014-10", "01 02 05 06 08 09 10 11 20 22"),
    ("2014-11", "08 10 12 13 13+ 15 18 20 21 22"),
    ("2015-09", "01 02 05 06 08 09 10 11 20 22"),
    ("2015-08", "08 10 12 13 13+ 15 18 20 21 22"),
    ("2015-10", "01 02 05 06 08 09 10 11 20 22 22 22 22 22"),
    ("2015-11", "08 10 12 13 13+ 15 18 20 21 22"),
];

const NEWEST: &str = "2016-01-01T01:02:03 2016-01-01T01:03:03 2016-01-01T07:08:03 2016-01-03T07:02:03 \
    2016-01-04T10:23:03 2016-01-04T11:23:03 2016-01-04T12:23:03 2016-01-04T12:24:03 2016-01-04T12:28:03 \
    2016-01-04T12:30:03 2016-01-04T16:23:03 2016-01-05T09:02:03 2016-01-06T08:02:03 2016-01-07T10:02:03 \
    2016-01-08T20:02:03 2016-01-09T21:02:03 2016-01-12T21:02:03 2016-01-12T21:08:03 2016-01-18T12:02:03";

const NOW: &str = "2026-11-22T02:00:00Z";

fn snapshots() -> Vec<Candidate> {
    let mut snapshots = Vec::new();
    for (month, days) in SERIES {
        for (place, day) in days.split_whitespace().enumerate() {
            let fraction = if day.ends_with('+') { ".1" } else { "" };
            let day = day.trim_end_matches('+');
            let tags: &[&str] = match (month, day, fraction) {
                ("2014-10", ..) | ("2014-11", "08" | "10" | "12" | "13", "") => &["foo"],
                ("2014-11", "13", _) => &["bar"],
                ("2014-11", "15", _) => &["foo", "bar"],
                ("2015-10", "22", _) if place > 10 => &["foo", "bar"],
                _ => &[],
            };
            snapshots.push(Candidate {
                time: time(&format!("{month}-{day}T10:20:30{fraction}Z")),
                tags: tags.iter().map(ToString::to_string).collect(),
                ..Candidate::default()
            });
        }
    }
    snapshots.extend(NEWEST.split_whitespace().map(|text| super::at(&format!("{text}Z"))));
    snapshots
}

/// Times as abbreviated in the lists below: `MM-DD` at 10:20:30 after a year, the others in full.
fn times(text: &str) -> Vec<DateTime<Utc>> {
    let full = |text: &str| if text.len() == 10 { format!("{text}T10:20:30Z") } else { format!("{text}Z") };
    text.split_whitespace().map(|text| time(&full(text))).collect()
}

#[track_caller]
fn keeps(json: &str, expected: &str) {
    let snapshots = snapshots();
    // restic has no floor; 0 has that meaning here.
    let mut policy = policy(json);
    policy.min_keep = 0;
    let fates = decide(&snapshots, &policy, time(NOW));
    let kept: Vec<DateTime<Utc>> = fates
        .iter()
        .filter(|fate| fate.is_kept())
        .map(|fate| snapshots.get(fate.index).expect("one of them").time)
        .collect();
    assert_eq!(kept, times(expected), "{json}");
}

const ALL_OF_2016: &str = "2016-01-18T12:02:03 2016-01-12T21:08:03 2016-01-12T21:02:03 2016-01-09T21:02:03 \
    2016-01-08T20:02:03 2016-01-07T10:02:03 2016-01-06T08:02:03 2016-01-05T09:02:03 2016-01-04T16:23:03 \
    2016-01-04T12:30:03 2016-01-04T12:28:03 2016-01-04T12:24:03 2016-01-04T12:23:03 2016-01-04T11:23:03 \
    2016-01-04T10:23:03 2016-01-03T07:02:03 2016-01-01T07:08:03 2016-01-01T01:03:03 2016-01-01T01:02:03";

#[test]
fn counted_rules_keep_what_restic_keeps() {
    // Cases 13, 15, 16 and 17.
    keeps(
        r#"{"keep_daily": 3, "keep_weekly": 4}"#,
        "2016-01-18T12:02:03 2016-01-12T21:08:03 2016-01-09T21:02:03 2016-01-03T07:02:03",
    );
    keeps(
        r#"{"keep_daily": 2, "keep_weekly": 2, "keep_monthly": 6}"#,
        "2016-01-18T12:02:03 2016-01-12T21:08:03 2015-11-22 2015-10-22 2015-09-22 2015-08-22 2014-11-22",
    );
    keeps(r#"{"keep_yearly": 10}"#, "2016-01-18T12:02:03 2015-11-22 2014-11-22 2014-08-08");
    keeps(
        r#"{"keep_daily": 7, "keep_weekly": 2, "keep_monthly": 3, "keep_yearly": 10}"#,
        "2016-01-18T12:02:03 2016-01-12T21:08:03 2016-01-09T21:02:03 2016-01-08T20:02:03 2016-01-07T10:02:03 \
         2016-01-06T08:02:03 2016-01-05T09:02:03 2015-11-22 2015-10-22 2014-11-22 2014-08-08",
    );
}

#[test]
fn unlimited_rules_keep_what_restic_keeps() {
    // Cases 36, 37 and 39; case 4 asks for more than exist.
    for json in [r#"{"keep_last": -1}"#, r#"{"keep_last": "unlimited", "keep_hourly": -1}"#, r#"{"keep_last": 200}"#] {
        assert_eq!(kept(&snapshots(), &policy(json), NOW).len(), snapshots().len(), "{json}");
    }
    keeps(
        r#"{"keep_daily": 3, "keep_weekly": 2, "keep_monthly": -1, "keep_yearly": -1}"#,
        "2016-01-18T12:02:03 2016-01-12T21:08:03 2016-01-09T21:02:03 2015-11-22 2015-10-22 2015-09-22 2015-08-22 \
         2014-11-22 2014-10-22 2014-09-22 2014-08-22 2014-08-08",
    );
}

#[test]
fn spans_keep_what_restic_keeps() {
    // Cases 25, 32, 33, 34 and 35.
    keeps(r#"{"keep_within": "1m14d"}"#, ALL_OF_2016);
    keeps(
        r#"{"keep_within_weekly": "1y2m3d3h"}"#,
        "2016-01-18T12:02:03 2016-01-12T21:08:03 2016-01-09T21:02:03 2016-01-03T07:02:03 2015-11-22 2015-11-15 \
         2015-11-08 2015-10-22 2015-10-11 2015-10-02 2015-09-22 2015-09-20 2015-09-11 2015-09-06 2015-08-22 2015-08-15 \
         2015-08-08 2014-11-22 2014-11-15",
    );
    keeps(
        r#"{"keep_within_monthly": "1y2m3d3h"}"#,
        "2016-01-18T12:02:03 2015-11-22 2015-10-22 2015-09-22 2015-08-22 2014-11-22",
    );
    keeps(r#"{"keep_within_yearly": "1y2m3d3h"}"#, "2016-01-18T12:02:03 2015-11-22 2014-11-22");
    keeps(
        r#"{"keep_within": "1h", "keep_within_hourly": "1d", "keep_within_daily": "7d", "keep_within_weekly": "1m",
            "keep_within_monthly": "1y", "keep_within_yearly": "9999y"}"#,
        "2016-01-18T12:02:03 2016-01-12T21:08:03 2016-01-09T21:02:03 2016-01-03T07:02:03 2015-11-22 2015-10-22 \
         2015-09-22 2015-08-22 2014-11-22 2014-08-08",
    );
}

#[test]
fn names_keep_what_tags_keep_in_restic() {
    // Case 19: restic's --keep-tag foo,bar.
    keeps(r#"{"keep_name": ["foo,bar"]}"#, "2015-10-22 2015-10-22 2015-10-22 2014-11-15");
    // Case 20: --keep-tag foo --keep-tag bar.
    let either = kept(&snapshots(), &policy(r#"{"keep_name": ["foo", "bar"], "min_keep": 0}"#), NOW);
    let tagged = snapshots().iter().filter(|candidate| !candidate.tags.is_empty()).count();
    assert_eq!((either.len(), tagged), (19, 19));
}

#[test]
fn the_reasons_are_those_that_restic_gives_with_its_counters() {
    // Cases 17 and 35, `reasons`.
    let json = r#"{"keep_daily": 7, "keep_weekly": 2, "keep_monthly": 3, "keep_yearly": 10}"#;
    let reasons: Vec<String> = kept(&snapshots(), &policy(json), NOW).into_iter().map(|(_, reasons)| reasons).collect();
    let expected = [
        "daily 1/7, weekly 1/2, monthly 1/3, yearly 1/10",
        "daily 2/7, weekly 2/2",
        "daily 3/7",
        "daily 4/7",
        "daily 5/7",
        "daily 6/7",
        "daily 7/7",
        "monthly 2/3, yearly 2/10",
        "monthly 3/3",
        "yearly 3/10",
        "oldest yearly 4/10",
    ];
    assert_eq!(reasons, expected);
    let json = r#"{"keep_within": "1h", "keep_within_hourly": "1d", "keep_within_daily": "7d", "keep_within_weekly": "1m",
        "keep_within_monthly": "1y", "keep_within_yearly": "9999y"}"#;
    let reasons: Vec<String> = kept(&snapshots(), &policy(json), NOW).into_iter().map(|(_, reasons)| reasons).collect();
    let first =
        "within 1h, hourly within 1d, daily within 7d, weekly within 1m, monthly within 1y, yearly within 9999y";
    assert_eq!(reasons.first().expect("the newest"), first);
    assert_eq!(reasons.last().expect("the oldest"), "oldest yearly within 9999y");
}
