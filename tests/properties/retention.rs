//! Laws of the rules that decide which snapshots stay, and a second, naive reading of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{
    DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Utc,
};
use chrono_tz::Tz;
use chsnap::plan::retention::{
    CalendarSpan, Candidate, Count, Policy, RetentionDecision, Rule, SnapshotHealth, decide,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Zones whose clocks are moved by an hour, half an hour, two hours and a whole day, in both halves of the year, at
/// midnight and off it; and some that stand still, off the hour.
const ZONES: [Tz; 12] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    Tz::Antarctica__Troll,
    Tz::America__St_Johns,
    Tz::America__Havana,
    Tz::America__Asuncion,
    Tz::Africa__Casablanca,
    Tz::Asia__Tehran,
    Tz::Asia__Kathmandu,
    Tz::Pacific__Apia,
];

/// Near the ends of years and weeks and where clocks were moved in one of the zones.
const TURNS: [&str; 14] = [
    "2020-12-31T12:00:00Z",
    "2018-12-31T00:00:00Z",
    "2026-01-01T00:00:00Z",
    "2028-02-29T12:00:00Z",
    "2026-03-31T12:00:00Z",
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-04-04T15:00:00Z",
    "2006-11-05T02:31:00Z",
    "2011-12-30T10:00:00Z",
    "2026-11-01T05:00:00Z",
    "2021-03-21T20:30:00Z",
];

const NOW: &str = "2030-06-15T12:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().expect("a valid time")
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    let near = (select(&TURNS[..]), -200_000_000_i64..200_000_000).prop_map(|(turn, milliseconds)| {
        turn.parse::<DateTime<Utc>>().expect("a valid time") + TimeDelta::milliseconds(milliseconds)
    });
    // A quarter of an hour apart, so that some are equal, and some of them in the future.
    let far = (0_i64..1_240_000)
        .prop_map(|quarters| DateTime::from_timestamp(820_454_400 + quarters * 900, 0).expect("a time of this age"));
    prop_oneof![3 => near, 2 => far]
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let health = prop_oneof![
        8 => Just(SnapshotHealth::Good),
        1 => Just(SnapshotHealth::Damaged),
        2 => Just(SnapshotHealth::Incomplete),
        1 => Just(SnapshotHealth::Unreadable("no manifest".to_owned())),
    ];
    let name = option::weighted(0.3, "[ab][12]?");
    let tags = vec("[ab]", 0..2);
    (time(), 0_u64..2, name, tags, option::weighted(0.05, Just("kept".to_owned())), health, series()).prop_map(
        |(time, sequence, name, tags, pin, health, series)| {
            let is_other = series != MAIN;
            Candidate { time, sequence, name, tags, pin, health, series, is_other }
        },
    )
}

const MAIN: &str = "all";

fn series() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(MAIN), 1 => Just("only a.t"), 1 => Just("without b.*")].prop_map(str::to_owned)
}

fn count() -> impl Strategy<Value = Count> {
    prop_oneof![4 => Just(Count::Of(0)), 3 => (1_u32..6).prop_map(Count::Of), 1 => Just(Count::Unlimited)]
}

fn span() -> impl Strategy<Value = CalendarSpan> {
    let some = (0_u32..3, 0_u32..15, 0_u32..40, 0_u32..60).prop_map(|(years, months, days, hours)| CalendarSpan {
        years,
        months,
        days,
        hours,
    });
    prop_oneof![3 => Just(CalendarSpan::default()), 2 => some, 1 => (0_u32..4).prop_map(|days| CalendarSpan { days, ..CalendarSpan::default() })]
}

fn policy() -> impl Strategy<Value = Policy> {
    let counts = [count(), count(), count(), count(), count(), count()];
    let spans = [span(), span(), span(), span(), span(), span()];
    let names = subsequence(vec!["a", "a?", "b*"], 0..2);
    (counts, spans, names, 0_u32..4, span(), span(), select(&ZONES[..])).prop_map(
        |(counts, spans, names, min_keep, min_age, keep_other_within, zone)| {
            let mut policy = Policy { min_keep, min_age, keep_other_within, zone, ..Policy::default() };
            policy.keep_name = names.into_iter().map(|text| text.parse().expect("a valid pattern")).collect();
            for (rule, (count, span)) in Rule::ALL.into_iter().zip(counts.into_iter().zip(spans)) {
                *count_of(&mut policy, rule) = count;
                *span_of(&mut policy, rule) = span;
            }
            policy
        },
    )
}

fn count_of(policy: &mut Policy, rule: Rule) -> &mut Count {
    match rule {
        Rule::Last => &mut policy.keep_last,
        Rule::Hourly => &mut policy.keep_hourly,
        Rule::Daily => &mut policy.keep_daily,
        Rule::Weekly => &mut policy.keep_weekly,
        Rule::Monthly => &mut policy.keep_monthly,
        Rule::Yearly => &mut policy.keep_yearly,
    }
}

fn span_of(policy: &mut Policy, rule: Rule) -> &mut CalendarSpan {
    match rule {
        Rule::Last => &mut policy.keep_within,
        Rule::Hourly => &mut policy.keep_within_hourly,
        Rule::Daily => &mut policy.keep_within_daily,
        Rule::Weekly => &mut policy.keep_within_weekly,
        Rule::Monthly => &mut policy.keep_within_monthly,
        Rule::Yearly => &mut policy.keep_within_yearly,
    }
}

fn kept(fates: &[RetentionDecision]) -> BTreeSet<usize> {
    fates.iter().filter(|fate| fate.is_kept()).map(|fate| fate.index).collect()
}

/// The period that a moment lies in, as a calendar on the wall of that place names it.
fn calendar(rule: Rule, moment: DateTime<Utc>, zone: Tz) -> String {
    let format = match rule {
        Rule::Last => return String::new(),
        Rule::Hourly => "%Y-%m-%d %H",
        Rule::Daily => "%Y-%m-%d",
        Rule::Weekly => "%G-W%V",
        Rule::Monthly => "%Y-%m",
        Rule::Yearly => "%Y",
    };
    moment.with_timezone(&zone).format(format).to_string()
}

/// Days from 1 January 1970 to a day of the proleptic Gregorian calendar, of which the month and the day may overflow.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let leaps = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let is_leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: i64 = lengths.iter().take(usize::try_from(month - 1).expect("a month")).sum();
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before + day - 1
}

/// The moment at which the clocks of a place show this for the first time.
fn first_shown(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    let offset_at = |moment: NaiveDateTime| zone.offset_from_utc_datetime(&moment).fix().local_minus_utc();
    let offset_before = offset_at(local - TimeDelta::days(1));
    let offsets = [offset_before, offset_at(local + TimeDelta::days(1))];
    let moments = offsets.map(|offset| (local - TimeDelta::seconds(offset.into())).and_utc());
    let shown = moments.iter().filter(|moment| moment.with_timezone(&zone).naive_local() == local).min();
    shown.copied().unwrap_or(moments[0])
}

fn moment_before(span: CalendarSpan, moment: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    let local = moment.with_timezone(&zone).naive_local();
    let days = days_from_civil(
        i64::from(local.year()) - i64::from(span.years),
        i64::from(local.month()) - i64::from(span.months),
        i64::from(local.day()) - i64::from(span.days),
    );
    let midnight =
        NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date").and_time(NaiveTime::MIN) + TimeDelta::days(days);
    let local = midnight + (local.time() - NaiveTime::MIN);
    first_shown(local, zone) - TimeDelta::hours(span.hours.into())
}

/// Which snapshots stay, said rule by rule and snapshot by snapshot, without walking a list and counting.
fn model(candidates: &[Candidate], policy: &Policy) -> BTreeSet<usize> {
    let later = |one: usize, other: usize| candidates[one].cmp(&candidates[other]).then(other.cmp(&one)).is_gt();
    let unreadable = |index: &usize| matches!(candidates[*index].health, SnapshotHealth::Unreadable(_));
    let (counting, others): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|index| !unreadable(index) && candidates[*index].time <= now());
    let pinned = (0..candidates.len()).filter(|index| candidates[*index].pin.is_some());
    let mut kept: BTreeSet<usize> = pinned.chain(others).collect();
    for series in counting.iter().map(|index| candidates[*index].series.as_str()).collect::<BTreeSet<_>>() {
        let members: Vec<usize> =
            counting.iter().copied().filter(|index| candidates[*index].series == series).collect();
        kept.extend(members.iter().filter(|index| is_named(&candidates[**index], policy)));
        let newest = members.iter().map(|index| candidates[*index].time).max().expect("one at least");
        let within = policy.keep_other_within;
        let has_ended = series != MAIN && !within.is_zero() && newest <= moment_before(within, now(), policy.zone);
        if !has_ended {
            let is_whole = |index: &usize| candidates[*index].health != SnapshotHealth::Incomplete;
            let (whole, incomplete): (Vec<usize>, Vec<usize>) = members.iter().copied().partition(is_whole);
            let among_all = by_rules(candidates, &members, policy);
            kept.extend(among_all.iter().filter(|index| incomplete.contains(index)));
            kept.extend(by_rules(candidates, &whole, policy));
        }
        for index in &members {
            let rank = |index: usize| match candidates[index].health {
                SnapshotHealth::Good => 0,
                SnapshotHealth::Damaged => 1,
                _ => 2,
            };
            let ahead = members.iter().filter(|other| {
                rank(**other) < rank(*index) || rank(**other) == rank(*index) && later(**other, *index)
            });
            let is_young = || candidates[*index].time > moment_before(policy.min_age, now(), policy.zone);
            let is_spared = !has_ended && ahead.count() < policy.min_keep as usize;
            if is_spared || !policy.min_age.is_zero() && is_young() {
                kept.insert(*index);
            }
        }
    }
    kept
}

fn is_named(candidate: &Candidate, policy: &Policy) -> bool {
    let texts = candidate.name.iter().chain(&candidate.tags);
    policy.keep_name.iter().any(|glob| {
        texts.clone().any(|text| match glob.as_str() {
            "a" => text == "a",
            "a?" => text.len() == 2 && text.starts_with('a'),
            _ => text.starts_with('b'),
        })
    })
}

/// What the rules keep of some snapshots as if there were no others.
fn by_rules(candidates: &[Candidate], counting: &[usize], policy: &Policy) -> BTreeSet<usize> {
    let later = |one: usize, other: usize| candidates[one].cmp(&candidates[other]).then(other.cmp(&one)).is_gt();
    let mut kept = BTreeSet::new();
    let Some(newest) = counting.iter().map(|index| candidates[*index].time).max() else { return kept };
    let oldest =
        counting.iter().copied().find(|index| counting.iter().all(|other| other == index || later(*other, *index)));
    for rule in Rule::ALL {
        let (count, span) = (policy.counts()[rule as usize].1, policy.spans()[rule as usize].1);
        let named = |index: usize| match rule {
            Rule::Last => index.to_string(),
            rule => calendar(rule, candidates[index].time, policy.zone),
        };
        let mut heads: BTreeMap<String, usize> = BTreeMap::new();
        for index in counting {
            let head = heads.entry(named(*index)).or_insert(*index);
            if later(*index, *head) {
                *head = *index;
            }
        }
        for head in heads.values() {
            let newer_periods = heads.values().filter(|other| later(**other, *head)).count();
            if count.allows_more_than(newer_periods) {
                kept.insert(*head);
            }
        }
        if count.allows_more_than(heads.len()) {
            kept.extend(oldest);
        }
        if !span.is_zero() {
            let after = moment_before(span, newest, policy.zone);
            kept.extend(heads.values().chain(&oldest).filter(|index| candidates[**index].time > after));
        }
    }
    kept
}

proptest! {
    #[test]
    fn kept_and_removed_snapshots_together_are_the_input(candidates in vec(candidate(), 0..60), policy in policy()) {
        let fates = decide(&candidates, &policy, now());
        let mut indices: Vec<usize> = fates.iter().map(|fate| fate.index).collect();
        indices.sort_unstable();
        prop_assert_eq!(indices, (0..candidates.len()).collect::<Vec<_>>());
        prop_assert!(fates.windows(2).all(|pair| candidates[pair[0].index] >= candidates[pair[1].index]));
    }

    #[test]
    fn a_naive_reading_of_the_rules_keeps_the_same(candidates in vec(candidate(), 0..60), policy in policy()) {
        let (found, expected) = (kept(&decide(&candidates, &policy, now())), model(&candidates, &policy));
        // Two indistinguishable snapshots may replace each other.
        let shown = |set: &BTreeSet<usize>| {
            let mut shown: Vec<Candidate> = set.iter().map(|index| candidates[*index].clone()).collect();
            shown.sort();
            shown
        };
        prop_assert_eq!(shown(&found), shown(&expected));
    }

    #[test]
    fn a_rule_more_or_a_higher_count_never_removes_more(
        candidates in vec(candidate(), 0..60),
        policy in policy(),
        rule in select(&Rule::ALL[..]),
        what in 0..6,
        more in 1_u32..4,
    ) {
        let mut wider = policy.clone();
        match what {
            0 => {
                let count = count_of(&mut wider, rule);
                *count = match *count {
                    Count::Of(few) if more < 3 => Count::Of(few + more),
                    _ => Count::Unlimited,
                };
            }
            1 => {
                let span = span_of(&mut wider, rule);
                *span = CalendarSpan { years: span.years + more, ..*span };
            }
            2 => {
                let span = span_of(&mut wider, rule);
                *span = CalendarSpan { months: span.months + more, days: span.days + more, hours: span.hours + more, ..*span };
            }
            3 => wider.keep_name.push("a*".parse().expect("a valid pattern")),
            4 => wider.min_keep += more,
            _ => wider.min_age.days += more,
        }
        let (fewer, most) = (kept(&decide(&candidates, &policy, now())), kept(&decide(&candidates, &wider, now())));
        prop_assert!(fewer.is_subset(&most), "{:?}", fewer.difference(&most).map(|at| &candidates[*at]).collect::<Vec<_>>());
    }

    #[test]
    fn the_order_in_which_snapshots_are_listed_decides_nothing(
        (candidates, shuffled) in vec(candidate(), 0..40).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        policy in policy(),
    ) {
        let decided = |list: &[Candidate]| -> Vec<(Candidate, Vec<String>)> {
            let fates = decide(list, &policy, now());
            fates.iter().map(|fate| (list[fate.index].clone(), fate.reasons.iter().map(ToString::to_string).collect())).collect()
        };
        prop_assert_eq!(decided(&candidates), decided(&shuffled));
    }

    #[test]
    fn removing_twice_removes_nothing_more(candidates in vec(candidate(), 0..60), policy in policy()) {
        let once = kept(&decide(&candidates, &policy, now()));
        let left: Vec<Candidate> = once.iter().map(|index| candidates[*index].clone()).collect();
        let twice = decide(&left, &policy, now());
        prop_assert!(twice.iter().all(RetentionDecision::is_kept));
    }

    #[test]
    fn snapshots_of_another_series_change_nothing_in_this_one(
        candidates in vec(candidate(), 0..60),
        others in vec(candidate(), 0..30),
        policy in policy(),
    ) {
        let others = others.into_iter().map(|other| Candidate { series: "only z.z".to_owned(), is_other: true, ..other });
        let all: Vec<Candidate> = candidates.iter().cloned().chain(others).collect();
        let alone = kept(&decide(&candidates, &policy, now()));
        let among_others: BTreeSet<usize> =
            kept(&decide(&all, &policy, now())).into_iter().filter(|index| *index < candidates.len()).collect();
        prop_assert_eq!(alone, among_others);
    }

    #[test]
    fn incomplete_snapshots_push_no_complete_one_out(candidates in vec(candidate(), 0..60), policy in policy()) {
        let is_whole = |candidate: &&Candidate| candidate.health != SnapshotHealth::Incomplete;
        let whole: Vec<Candidate> = candidates.iter().filter(is_whole).cloned().collect();
        let sorted = |list: &[Candidate], policy: &Policy| {
            let kept = kept(&decide(list, policy, now()));
            let mut kept: Vec<Candidate> = kept.into_iter().map(|index| list[index].clone()).filter(|one| is_whole(&one)).collect();
            kept.sort();
            kept
        };
        // Whether a series has ended is known by all that it has.
        let policy = Policy { keep_other_within: CalendarSpan::default(), ..policy };
        prop_assert_eq!(sorted(&candidates, &policy), sorted(&whole, &policy));
    }

    #[test]
    fn a_series_in_which_all_lack_something_is_pruned_like_any_other(
        candidates in vec(candidate(), 0..60),
        policy in policy(),
    ) {
        let all_are = |health: SnapshotHealth| -> Vec<Candidate> {
            candidates.iter().map(|one| Candidate { health: health.clone(), ..one.clone() }).collect()
        };
        let [good, incomplete] = [SnapshotHealth::Good, SnapshotHealth::Incomplete].map(all_are);
        prop_assert_eq!(kept(&decide(&good, &policy, now())), kept(&decide(&incomplete, &policy, now())));
    }

    #[test]
    fn the_newest_good_one_of_each_series_stays_whatever_came_after_it(
        candidates in vec(candidate(), 0..60),
        policy in policy(),
    ) {
        let policy = Policy { keep_other_within: CalendarSpan::default(), ..policy.keeping_the_last() };
        let kept = kept(&decide(&candidates, &policy, now()));
        let mut newest: BTreeMap<&str, &Candidate> = BTreeMap::new();
        for candidate in candidates.iter().filter(|one| one.health == SnapshotHealth::Good && one.time <= now()) {
            let best = newest.entry(&candidate.series).or_insert(candidate);
            *best = (*best).max(candidate);
        }
        for candidate in newest.into_values() {
            prop_assert!(kept.iter().any(|index| candidates[*index] == *candidate), "{candidate:?}");
        }
    }

    /// Two snapshots, and an older one that takes the place of the oldest: of the two both stay if and only if the
    /// calendar of the place has them in two periods.
    #[test]
    fn periods_are_equal_as_the_calendar_has_them_equal(
        one in time(),
        apart in prop_oneof![0_i64..7200, 0_i64..200_000, 0_i64..2_000_000, 0_i64..70_000_000],
        rule in select(&Rule::ALL[1..]),
        zone in select(&ZONES[..]),
    ) {
        let other = one + TimeDelta::seconds(apart);
        let oldest: DateTime<Utc> = "1970-01-01T12:00:00Z".parse().expect("a valid time");
        let candidates = [oldest, one, other].map(|time| Candidate { time, ..Candidate::default() });
        let mut policy = Policy { zone, ..Policy::default() };
        *count_of(&mut policy, rule) = Count::Unlimited;
        let later = other.max(now());
        let both = decide(&candidates, &policy, later).iter().all(RetentionDecision::is_kept);
        prop_assert_eq!(both, calendar(rule, one, zone) != calendar(rule, other, zone));
    }
}
