use super::{at, kept, policy, time};
use crate::plan::retention::{Candidate, Policy, SnapshotHealth, decide};

fn list(times: &[&str]) -> Vec<Candidate> {
    times.iter().map(|text| at(text)).collect()
}

#[track_caller]
fn keeps(candidates: &[Candidate], json: &str, expected: &[(&str, &str)]) {
    let found = kept(candidates, &policy(json), "2026-11-22T03:00:00Z");
    let found: Vec<(&str, &str)> = found.iter().map(|(time, reasons)| (time.as_str(), reasons.as_str())).collect();
    let expected: Vec<(String, &str)> = expected.iter().map(|(text, why)| (time(text).to_rfc3339(), *why)).collect();
    assert_eq!(found, expected.iter().map(|(time, why)| (time.as_str(), *why)).collect::<Vec<_>>());
}

#[test]
fn weeks_are_iso_weeks_over_the_turn_of_the_year() {
    // 28 December 2020 to 3 January 2021 is week 53 of 2020; 31 December 2018 is in week 1 of 2019.
    let nights = list(&[
        "2020-12-27T02:00:00Z",
        "2020-12-28T02:00:00Z",
        "2020-12-31T02:00:00Z",
        "2021-01-03T02:00:00Z",
        "2021-01-04T02:00:00Z",
    ]);
    keeps(
        &nights,
        r#"{"keep_weekly": 3}"#,
        &[
            ("2021-01-04T02:00:00Z", "weekly 1/3"),
            ("2021-01-03T02:00:00Z", "weekly 2/3"),
            ("2020-12-27T02:00:00Z", "weekly 3/3"),
        ],
    );
    let nights = list(&["2018-01-02T02:00:00Z", "2018-12-31T02:00:00Z", "2019-01-01T02:00:00Z"]);
    keeps(
        &nights,
        r#"{"keep_weekly": 2}"#,
        &[("2019-01-01T02:00:00Z", "weekly 1/2"), ("2018-01-02T02:00:00Z", "weekly 2/2")],
    );
}

#[test]
fn days_and_hours_are_those_of_the_zone() {
    // 00:30 and 23:30 of one day in Berlin are on two days in UTC; 02:00 to 03:00 came twice on 25 October 2026.
    let nights =
        list(&["2026-10-24T22:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T22:30:00Z"]);
    keeps(
        &nights,
        r#"{"keep_daily": 9, "zone": "Europe/Berlin"}"#,
        &[("2026-10-25T22:30:00Z", "daily 1/9"), ("2026-10-24T22:30:00Z", "oldest daily 2/9")],
    );
    keeps(
        &nights,
        r#"{"keep_daily": 9}"#,
        &[("2026-10-25T22:30:00Z", "daily 1/9"), ("2026-10-24T22:30:00Z", "daily 2/9")],
    );
    keeps(
        &nights,
        r#"{"keep_hourly": 9, "zone": "Europe/Berlin"}"#,
        &[
            ("2026-10-25T22:30:00Z", "hourly 1/9"),
            ("2026-10-25T01:30:00Z", "hourly 2/9"),
            ("2026-10-24T22:30:00Z", "hourly 3/9"),
        ],
    );
}

#[test]
fn a_day_that_a_clock_came_back_to_is_one_day() {
    // In St John's the clock went back from 00:01 to 23:01 of the day before, on 5 November 2006: 03:01 before, 02:31
    // UTC.
    let nights =
        list(&["2006-11-05T02:29:00Z", "2006-11-05T02:30:30Z", "2006-11-05T02:45:00Z", "2006-11-05T03:45:00Z"]);
    let json = r#"{"keep_daily": "unlimited", "zone": "America/St_Johns"}"#;
    keeps(
        &nights,
        json,
        &[
            ("2006-11-05T03:45:00Z", "daily 1/unlimited"),
            ("2006-11-05T02:45:00Z", "daily 2/unlimited"),
            ("2006-11-05T02:29:00Z", "oldest daily 3/unlimited"),
        ],
    );
}

#[test]
fn a_snapshot_from_the_future_stays_and_counts_for_nothing() {
    let nights = list(&[
        "2026-11-19T02:00:00Z",
        "2026-11-20T02:00:00Z",
        "2026-11-21T02:00:00Z",
        "2026-11-22T03:00:00.001Z",
        "2036-01-01T00:00:00Z",
    ]);
    keeps(
        &nights,
        r#"{"keep_daily": 1}"#,
        &[
            ("2036-01-01T00:00:00Z", "future"),
            ("2026-11-22T03:00:00.001Z", "future"),
            ("2026-11-21T02:00:00Z", "daily 1/1"),
        ],
    );
    keeps(
        &nights,
        r#"{"keep_within": "1d1h"}"#,
        &[
            ("2036-01-01T00:00:00Z", "future"),
            ("2026-11-22T03:00:00.001Z", "future"),
            ("2026-11-21T02:00:00Z", "within 1d1h"),
            ("2026-11-20T02:00:00Z", "within 1d1h"),
        ],
    );
}

#[test]
fn within_counts_from_the_newest_snapshot_and_ends_before_its_end() {
    let nights =
        list(&["2026-01-01T02:00:00Z", "2026-01-02T02:00:00Z", "2026-01-02T02:00:01Z", "2026-01-04T02:00:00Z"]);
    keeps(
        &nights,
        r#"{"keep_within": "2d"}"#,
        &[("2026-01-04T02:00:00Z", "within 2d"), ("2026-01-02T02:00:01Z", "within 2d")],
    );
}

#[test]
fn pins_names_and_floors_keep_what_no_rule_keeps() {
    let mut nights = list(&[
        "2026-11-18T02:00:00Z",
        "2026-11-19T02:00:00Z",
        "2026-11-20T02:00:00Z",
        "2026-11-21T02:00:00Z",
        "2026-11-22T02:00:00Z",
    ]);
    if let [oldest, named, ..] = nights.as_mut_slice() {
        oldest.pin = Some("before the upgrade".to_owned());
        named.name = Some("release-26.9".to_owned());
    }
    keeps(
        &nights,
        r#"{"keep_last": 1, "keep_name": ["release-*"], "min_keep": 2, "min_age": "2d2h"}"#,
        &[
            ("2026-11-22T02:00:00Z", "last 1/1, min-keep 1/2, min-age 2d2h"),
            ("2026-11-21T02:00:00Z", "min-keep 2/2, min-age 2d2h"),
            ("2026-11-20T02:00:00Z", "min-age 2d2h"),
            ("2026-11-19T02:00:00Z", "name release-*"),
            ("2026-11-18T02:00:00Z", "pinned: before the upgrade"),
        ],
    );
}

#[test]
fn the_newest_stays_where_no_rule_keeps_it() {
    let nights = list(&["2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z"]);
    keeps(&nights, r#"{"keep_name": ["x"]}"#, &[("2026-11-21T02:00:00Z", "min-keep 1/1")]);
    keeps(&nights, r#"{"keep_name": ["x"], "min_keep": 0}"#, &[]);
    let spared = policy(r#"{"keep_name": ["x"], "min_keep": 0}"#).keeping_the_last();
    assert_eq!(kept(&nights, &spared, "2026-11-22T03:00:00Z").len(), 1);
}

#[test]
fn a_damaged_snapshot_is_none_of_those_that_must_stay_while_good_ones_are_there() {
    let mut nights = list(&["2026-11-19T02:00:00Z", "2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z"]);
    if let Some(newest) = nights.last_mut() {
        newest.health = SnapshotHealth::Damaged;
    }
    keeps(&nights, r#"{"keep_name": ["x"]}"#, &[("2026-11-20T02:00:00Z", "min-keep 1/1")]);
    for night in &mut nights {
        night.health = SnapshotHealth::Damaged;
    }
    keeps(&nights, r#"{"keep_name": ["x"]}"#, &[("2026-11-21T02:00:00Z", "min-keep 1/1")]);
}

#[test]
fn unreadable_snapshots_stay_and_count_for_no_rule() {
    let mut nights = list(&["2026-11-19T02:00:00Z", "2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z"]);
    if let Some(newest) = nights.last_mut() {
        newest.health = SnapshotHealth::Unreadable("manifest.json is no JSON".to_owned());
    }
    keeps(
        &nights,
        r#"{"keep_last": 1}"#,
        &[("2026-11-21T02:00:00Z", "unreadable: manifest.json is no JSON"), ("2026-11-20T02:00:00Z", "last 1/1")],
    );
}

#[test]
fn no_snapshots_are_no_trouble() {
    assert_eq!(
        decide(&[], &policy(r#"{"keep_last": 1, "keep_within": "1d"}"#), time("2026-11-22T03:00:00Z")),
        Vec::new()
    );
}

#[test]
fn a_policy_without_a_rule_is_empty_whatever_its_floors() {
    for json in
        ["{}", r#"{"min_keep": 5, "min_age": "9d", "zone": "Asia/Tokyo"}"#, r#"{"keep_last": 0, "keep_within": "0d"}"#]
    {
        assert!(policy(json).is_empty(), "{json}");
    }
    for json in [
        r#"{"keep_last": 1}"#,
        r#"{"keep_within_yearly": "1h"}"#,
        r#"{"keep_name": ["*"]}"#,
        r#"{"keep_daily": "unlimited"}"#,
    ] {
        assert!(!policy(json).is_empty(), "{json}");
    }
}

#[test]
fn a_policy_reads_back_as_it_is_written_and_knows_its_keys() {
    let full = policy(
        r#"{"keep_last": 3, "keep_monthly": "unlimited", "keep_within_daily": "1m2d", "keep_name": ["a*", "b"], "min_keep": 2,
            "min_age": "1d", "zone": "Europe/Berlin"}"#,
    );
    let text = serde_json::to_string(&full).expect("it is written");
    assert_eq!(policy(&text), full);
    assert_eq!(
        full.to_string(),
        "keep 3 last, every monthly, daily within 1m2d, named a*, named b; at least 2; all younger than 1d; by the calendar of \
         Europe/Berlin"
    );
    for json in
        [r#"{"keep_dayly": 7}"#, r#"{"zone": "Mars/Olympus"}"#, r#"{"keep_last": -2}"#, r#"{"keep_name": ["["]}"#]
    {
        assert!(serde_json::from_str::<Policy>(json).is_err(), "{json}");
    }
}
