use chrono_tz::Tz;

use super::time;
use crate::plan::retention::{CalendarSpan, Count};

fn span(text: &str) -> CalendarSpan {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn spans_read_as_restic_reads_them() {
    // restic's `TestParseDuration`, without its signs.
    for (text, printed) in [
        ("9h", "9h"),
        ("3d", "3d"),
        ("4d2h", "4d2h"),
        ("7m5d", "7m5d"),
        ("6m4d8h", "6m4d8h"),
        ("5d7m", "7m5d"),
        ("4h3d9m", "9m3d4h"),
        ("1y2m3d3h", "1y2m3d3h"),
        (" 2d ", "2d"),
        ("0", "0"),
        ("0d", "0"),
    ] {
        assert_eq!(span(text).to_string(), printed);
    }
    for text in ["", "2w", "1y4m3w1d", "s", "3", "d", "1d1d", "-7m5d", "1.5d", "99999999999d", "1 d", "1d ２h", "1dé"]
    {
        let error = text.parse::<CalendarSpan>().expect_err(text).to_string();
        assert!(error.contains("write 3d") && error.len() < 300, "{error}");
    }
}

#[test]
fn counts_are_numbers_or_unlimited() {
    for (text, count) in
        [("0", Count::Of(0)), ("7", Count::Of(7)), ("unlimited", Count::Unlimited), ("-1", Count::Unlimited)]
    {
        assert_eq!(text.parse::<Count>().expect(text), count);
    }
    for text in ["", "-2", "seven", "7.5", "4294967296", "+1"] {
        assert!(text.parse::<Count>().is_err(), "{text}");
    }
}

#[track_caller]
fn before(text: &str, moment: &str, zone: Tz, expected: &str) {
    let found = span(text).before(time(moment), zone);
    assert_eq!(found, time(expected), "{text} before {moment} in {zone}");
}

#[test]
fn months_and_days_that_a_month_does_not_have_run_over_as_with_go() {
    // restic's `TestPastTime`.
    before("1y2m3d4h", "1999-12-30T15:16:17Z", Tz::UTC, "1998-10-27T11:16:17Z");
    before("1m", "2026-03-31T02:00:00Z", Tz::UTC, "2026-03-03T02:00:00Z");
    before("1m", "2028-03-31T02:00:00Z", Tz::UTC, "2028-03-02T02:00:00Z");
    before("1y", "2028-02-29T02:00:00Z", Tz::UTC, "2027-03-01T02:00:00Z");
    before("13m", "2026-01-15T00:00:00.5Z", Tz::UTC, "2024-12-15T00:00:00.5Z");
    before("400d", "2026-01-15T00:00:00Z", Tz::UTC, "2024-12-11T00:00:00Z");
    before("9999y", "2026-01-15T00:00:00Z", Tz::UTC, "-7973-01-15T00:00:00Z");
    assert_eq!(
        span("4000000000y").before(time("2026-01-15T00:00:00Z"), Tz::UTC),
        chrono::DateTime::<chrono::Utc>::MIN_UTC
    );
}

#[test]
fn days_are_days_of_the_calendar_and_hours_are_hours() {
    let berlin = Tz::Europe__Berlin;
    // The clock went from 2 to 3 on 29 March 2026, and from 3 to 2 on 25 October 2026.
    before("1d", "2026-03-29T10:00:00Z", berlin, "2026-03-28T11:00:00Z");
    before("24h", "2026-03-29T10:00:00Z", berlin, "2026-03-28T10:00:00Z");
    before("1d", "2026-03-30T00:30:00Z", berlin, "2026-03-29T01:30:00Z");
    before("1d", "2026-10-26T01:30:00Z", berlin, "2026-10-25T00:30:00Z");
    // The local date decides what a month before is.
    before("1m", "2026-03-30T23:30:00Z", berlin, "2026-03-03T00:30:00Z");
    // Samoa had no 30 December 2011.
    before("1d", "2011-12-30T21:00:00Z", Tz::Pacific__Apia, "2011-12-30T21:00:00Z");
    before("2d", "2011-12-30T21:00:00Z", Tz::Pacific__Apia, "2011-12-29T21:00:00Z");
}
