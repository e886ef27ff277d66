use std::time::Duration;

use chrono::NaiveDate;

use super::{CronError, Schedule};

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Expressions that systemd accepts, and those that it refuses; `tests/cli/systemd.rs` asks systemd itself if it is
/// installed.
const GOOD: [&str; 42] = [
    "*-*-* 02:00:0/0.5",
    "0:0:0..59.5/0.5",
    "0:0:0..0.5/0.7",
    "0:0:0.5,3",
    "Mon",
    "monday,Wed 3:0",
    "Mon..Fri 03:00 Europe/Berlin",
    "Mon,Tue-Wed 1:2",
    "*-*-* 02:00:00 UTC",
    "*-*-* 02:00:00",
    "02:00",
    "2:00 utc",
    "0/12:00",
    "5..5:00",
    "*:0/30",
    "*:*:0/10",
    "*:00/15:00",
    "hourly UTC",
    "Daily",
    "weekly",
    "quarterly Europe/Berlin",
    "semi-annually",
    "2026-11-29",
    "26-11-29 1:00",
    "11-29",
    "*-*~01 02:00",
    "*-02~3",
    "*-*-1..7",
    "Sat *-*-1..7 18:00:00",
    "*-1,4,7,10-01 00:00",
    "2026..2030-*-01",
    "*-*-* 1..5/2:00",
    "00:00:00.5",
    "@1700000000",
    "*-*",
    "1..2/5:00",
    "Mon, 2:00",
    "Mon,",
    "mon  2:00",
    "*-02-30",
    "2:00 CET",
    // The minutes 0 and 3.
    "2:00,3:00",
];
const BAD: [&str; 37] = [
    "00:00:00.",
    "00:00:0..0.5",
    "00:00:0/0.0000001",
    "0:0:59.9999999",
    "0:0:59.5/1",
    "23/1:00",
    "",
    " ",
    "nonsense",
    "Mond 2:00",
    "Mon 2",
    "*/2:00",
    "2:00 Foo/Bar",
    "25:00",
    "*-13-01",
    "*-*-32",
    "*-*-0",
    "*-*~29",
    "12:60",
    "12:00:61",
    "Fri..Mon 2:00",
    "0/0:00",
    "5..3:00",
    "0/24:00",
    "*-*-* 02:00:00 UTC extra",
    "*-*-*T02:00",
    "tomorrow",
    "12:00:60",
    "Mon,,Tue 2:00",
    "Mon Tue 2:00",
    "2:00  UTC",
    "utc",
    "2:00 europe/berlin",
    "@",
    "every day",
    "1969-01-01",
    "2:0:0:0",
];

#[test]
fn calendars_that_systemd_accepts_are_accepted_and_others_refused_with_a_reason() {
    for text in GOOD {
        schedule(text);
    }
    for text in BAD {
        let refused = text.parse::<Schedule>().expect_err(text).to_string();
        assert!(refused.contains("is no calendar expression of systemd: "), "{refused}");
    }
}

#[test]
fn runs_are_as_far_apart_as_the_calendar_has_them() {
    let from = NaiveDate::from_ymd_opt(2026, 11, 29).expect("a day");
    let hours = |text: &str| schedule(text).longest_gap(from).map(|gap| gap.as_secs() / 3600);
    assert_eq!(hours("*-*-* 02:00:00 UTC"), Some(24));
    assert_eq!(hours("hourly"), Some(1));
    assert_eq!(hours("0/6:30"), Some(6));
    assert_eq!(hours("8,20:00"), Some(12));
    assert_eq!(hours("8,12:00"), Some(20));
    assert_eq!(hours("Sun 02:00"), Some(168));
    assert_eq!(hours("Mon..Fri 02:00"), Some(72));
    assert_eq!(hours("monthly"), Some(31 * 24));
    assert_eq!(hours("*-*~1 02:00"), Some(31 * 24));
    assert_eq!(hours("@1700000000"), None);
    assert_eq!(hours("2020-01-01"), None);
    assert_eq!(schedule("*:0/30").longest_gap(from), Some(Duration::from_secs(1800)));
}

#[test]
fn a_calendar_comes_again_or_never() {
    let now = "2026-11-29T12:00:00Z".parse().expect("a time");
    let east = chrono::FixedOffset::east_opt(3600).expect("an offset");
    let comes = |text: &str| schedule(text).comes_after(now, east);
    for text in ["daily", "*-02-29", "2026-11-29 13:30", "2026-11-29 12:00:01 UTC", "@1900000000", "2199-12-31"] {
        assert!(comes(text), "{text}");
    }
    for text in ["2025-01-01", "*-02-30 02:00", "@0", "2026-11-29 12:30", "2026-11-29 12:00 UTC", "Mon 2026-12-01"] {
        assert!(!comes(text), "{text}");
    }
}

#[test]
fn cron_has_the_same_times_or_the_reason_why_it_cannot() {
    let cron = |text: &str| schedule(text).cron("Etc/UTC");
    for (text, line) in [
        ("*-*-* 02:00:00 UTC", "0 2 * * *"),
        ("hourly UTC", "0 * * * *"),
        ("*:0/30", "*/30 * * * *"),
        ("0/6:15", "15 */6 * * *"),
        ("8,20:05", "5 8,20 * * *"),
        ("Mon..Fri 03:00", "0 3 * * 1-5"),
        ("Sun 02:00", "0 2 * * 0"),
        ("Sat,Sun 02:00", "0 2 * * 0,6"),
        ("monthly", "0 0 1 * *"),
        ("quarterly", "0 0 1 1,4,7,10 *"),
        ("Mon..Sun 4:00", "0 4 * * *"),
    ] {
        assert_eq!(cron(text).as_deref(), Ok(line), "{text}");
    }
    assert_eq!(cron("2:00:30"), Err(CronError::Seconds));
    assert_eq!(cron("*:*:*"), Err(CronError::Seconds));
    assert_eq!(cron("2027-*-01"), Err(CronError::Years));
    assert_eq!(cron("*-*~1"), Err(CronError::FromEnd));
    assert_eq!(cron("Sat *-*-1..7 18:00"), Err(CronError::BothDays));
    assert_eq!(cron("@1700000000"), Err(CronError::Once));
    assert!(matches!(schedule("2:00 UTC").cron("Europe/Berlin"), Err(CronError::Zone { .. })));
    assert!(matches!(cron("2:00 Europe/Berlin"), Err(CronError::Zone { .. })));
    assert_eq!(schedule("2:00 Europe/Berlin").cron("Europe/Berlin").as_deref(), Ok("0 2 * * *"));
    assert_eq!(schedule("2:00").cron("Europe/Berlin").as_deref(), Ok("0 2 * * *"));
}
