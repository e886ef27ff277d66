//! The parser for calendar expressions.

use std::str::FromStr;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::{Field, Range, Schedule, ScheduleZone};

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no calendar expression of systemd: {reason}")]
pub struct InvalidSchedule {
    text: String,
    reason: String,
}

/// The words that abbreviate a whole expression.
const WORDS: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The limits of a field, both inclusive.
#[derive(Clone, Copy)]
struct FieldLimits {
    name: &'static str,
    from: u32,
    to: u32,
}

const YEARS: FieldLimits = FieldLimits { name: "year", from: 1970, to: 2199 };
const MONTHS: FieldLimits = FieldLimits { name: "month", from: 1, to: 12 };
const DAYS: FieldLimits = FieldLimits { name: "day", from: 1, to: 31 };
/// Counted from the end, every month has only 28 days.
const LAST_DAYS: FieldLimits = FieldLimits { name: "day before the end of the month", from: 1, to: 28 };
const HOURS: FieldLimits = FieldLimits { name: "hour", from: 0, to: 23 };
const MINUTES: FieldLimits = FieldLimits { name: "minute", from: 0, to: 59 };
/// In microseconds: fractions of seconds can be repeated too.
const SECONDS: FieldLimits = FieldLimits { name: "second, counted in millionths,", from: 0, to: 59_999_999 };
const SECOND: u32 = 1_000_000;

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        parse(text).map_err(|reason| InvalidSchedule { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Schedule, String> {
    if text.contains(|letter: char| letter.is_control()) {
        return Err("it has a control character".to_owned());
    }
    let (rest, zone) = zone(text);
    let word = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(rest));
    let rest = word.map_or(rest, |(_, meaning)| meaning);
    if rest.is_empty() {
        return Err("it is empty; write for example *-*-* 02:00:00".to_owned());
    }
    let mut schedule = Schedule {
        weekdays: Vec::new(),
        years: Field::any(),
        months: Field::any(),
        days: Field::any(),
        from_end: false,
        hours: Field::one(0),
        minutes: Field::one(0),
        seconds: Field::one(0),
        zone,
        moment: None,
        text: text.to_owned(),
    };
    if let Some(moment) = rest.strip_prefix('@') {
        let seconds = moment.parse::<u32>().map_err(|_| "@ is followed by the seconds since 1970".to_owned())?;
        schedule.moment = Some(seconds.into());
        return Ok(schedule);
    }
    let mut reader = FieldReader { rest };
    schedule.weekdays = reader.weekdays()?;
    reader.date(&mut schedule)?;
    reader.time(&mut schedule)?;
    Ok(schedule)
}

/// The time zone after the last space, if there is one.
fn zone(text: &str) -> (&str, ScheduleZone) {
    let Some((before, last)) = text.rsplit_once(' ') else { return (text, ScheduleZone::Local) };
    if last.eq_ignore_ascii_case("UTC") {
        return (before, ScheduleZone::Utc);
    }
    let known = |zone: &&Tz| zone.name() == last;
    match TZ_VARIANTS.iter().find(known) {
        Some(zone) => (before, ScheduleZone::Named(*zone)),
        None => (text, ScheduleZone::Local),
    }
}

struct FieldReader<'a> {
    rest: &'a str,
}

impl FieldReader<'_> {
    fn skip(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn unexpected(&self, wanted: &str) -> String {
        if self.rest.is_empty() {
            format!("it ends where {wanted} is expected")
        } else {
            format!("{:?} is found where {wanted} is expected", self.rest)
        }
    }

    fn weekday(&mut self) -> Result<Option<u32>, String> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            return Ok(None);
        }
        let word = word.to_ascii_lowercase();
        let found = WEEKDAYS.iter().position(|day| *day == word || day.get(..3) == Some(word.as_str()));
        let Some(day) = found else { return Err(format!("{word:?} is neither a day of the week nor a zone")) };
        self.rest = rest;
        Ok(u32::try_from(day).ok())
    }

    /// `Mon`, `Mon,Wed`, `Mon..Fri`, and the old `Mon-Fri`.
    fn weekdays(&mut self) -> Result<Vec<u32>, String> {
        let mut days = Vec::new();
        loop {
            let Some(first) = self.weekday()? else {
                return if days.is_empty() { Ok(days) } else { Err(self.unexpected("a day of the week")) };
            };
            if self.skip("..") || self.skip("-") {
                let last = self.weekday()?.ok_or_else(|| self.unexpected("a day of the week"))?;
                if last < first {
                    return Err("a range of days goes from the earlier to the later one".to_owned());
                }
                days.extend(first..=last);
            } else {
                days.push(first);
            }
            // systemd allows a trailing comma in a list.
            let is_list = self.skip(",") && !self.at_end_or(" ");
            let is_over = self.rest.is_empty() || self.rest.starts_with(' ');
            self.rest = self.rest.trim_start_matches(' ');
            if !is_list {
                if !is_over {
                    return Err(self.unexpected("a space"));
                }
                days.sort_unstable();
                days.dedup();
                return Ok(days);
            }
        }
    }

    fn number(&mut self) -> Result<u32, String> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse().map_err(|_| self.unexpected("a number"))?;
        self.rest = rest;
        Ok(number)
    }

    /// Seconds with a fraction, in microseconds, rounded to the nearest.
    fn microseconds(&mut self) -> Result<u32, String> {
        let whole = self.number()?;
        let mut micros = whole.checked_mul(SECOND).ok_or_else(|| format!("there is no second {whole}"))?;
        if self.rest.starts_with("..") || !self.skip(".") {
            return Ok(micros);
        }
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        if digits.is_empty() {
            return Err(self.unexpected("a fraction of a second"));
        }
        let mut weight = SECOND;
        for digit in digits.chars().filter_map(|digit| digit.to_digit(10)) {
            let is_seventh = weight == 1;
            weight /= 10;
            let share = if is_seventh { u32::from(digit >= 5) } else { digit * weight };
            micros = micros.saturating_add(share);
        }
        self.rest = rest;
        Ok(micros)
    }

    /// Parses a list of whole values, or `*`.
    fn field(&mut self) -> Result<Field, String> {
        self.field_of(Self::number, 1)
    }

    /// Parses a list of values, or `*`; in a range without a step they are one unit apart.
    fn field_of(&mut self, value: fn(&mut Self) -> Result<u32, String>, unit: u32) -> Result<Field, String> {
        if self.skip("*") {
            return Ok(Field::any());
        }
        let mut ranges = Vec::new();
        loop {
            let start = value(self)?;
            let mut range = Range { start, end: None, step: 0 };
            if self.skip("..") {
                range.end = Some(value(self)?);
                range.step = unit;
            }
            let is_short = range.end.is_some_and(|end| end.saturating_sub(start) < unit);
            let is_repeated = self.rest.starts_with('/');
            if unit > 1 && is_short && !is_repeated {
                return Err("a range of seconds without a repetition is a second long or more".to_owned());
            }
            if self.skip("/") {
                range.step = value(self)?;
                if range.step == 0 {
                    return Err("a repetition by 0 never comes".to_owned());
                }
            }
            if range.end == Some(start) {
                range = Range { start, end: None, step: 0 };
            }
            ranges.push(range);
            if !self.skip(",") {
                return Ok(Field(ranges));
            }
        }
    }

    fn at_end_or(&self, more: &str) -> bool {
        self.rest.is_empty() || self.rest.starts_with(more)
    }

    /// Parses nothing, `MM-DD` or `YYYY-MM-DD`; `~` before the day counts from the end of the month.
    fn date(&mut self, schedule: &mut Schedule) -> Result<(), String> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let begin = self.rest;
        let first = self.field()?;
        if self.at_end_or(":") {
            self.rest = begin;
            return Ok(());
        }
        let mut from_end = self.dash()?;
        let second = self.field()?;
        let (year, month, day) = if self.at_end_or(" ") {
            (Field::any(), first, second)
        } else if from_end {
            return Err(self.unexpected("a space"));
        } else {
            from_end = self.dash()?;
            let third = self.field()?;
            if !self.at_end_or(" ") {
                return Err(self.unexpected("a space"));
            }
            (first, second, third)
        };
        self.rest = self.rest.trim_start_matches(' ');
        schedule.years = checked(century(year), YEARS)?;
        schedule.months = checked(month, MONTHS)?;
        schedule.days = if from_end { counted_down(&checked(day, LAST_DAYS)?)? } else { checked(day, DAYS)? };
        schedule.from_end = from_end;
        Ok(())
    }

    /// Parses the separator between two fields of a date; returns whether it is `~`.
    fn dash(&mut self) -> Result<bool, String> {
        if self.skip("~") {
            return Ok(true);
        }
        if self.skip("-") { Ok(false) } else { Err(self.unexpected("'-' or ':'")) }
    }

    /// Parses nothing, `HH:MM` or `HH:MM:SS`.
    fn time(&mut self, schedule: &mut Schedule) -> Result<(), String> {
        if self.rest.is_empty() {
            return Ok(());
        }
        schedule.hours = checked(self.field()?, HOURS)?;
        if !self.skip(":") {
            return Err(self.unexpected("':'"));
        }
        schedule.minutes = checked(self.field()?, MINUTES)?;
        if self.rest.is_empty() {
            return Ok(());
        }
        if !self.skip(":") {
            return Err(self.unexpected("':'"));
        }
        schedule.seconds = whole_seconds(&checked(self.field_of(Self::microseconds, SECOND)?, SECONDS)?);
        if self.rest.is_empty() { Ok(()) } else { Err(self.unexpected("the end, or the name of a zone")) }
    }
}

/// Days counted from the end of the month, in which a step leads towards the end.
fn counted_down(days: &Field) -> Result<Field, String> {
    let mut counted = Vec::new();
    for range in &days.0 {
        let is_repeated = range.end.is_none() && range.step > 0;
        if !is_repeated {
            counted.push(*range);
            continue;
        }
        if range.start <= range.step {
            return Err(format!("every {} days from ~{} on is beyond the end of the month", range.step, range.start));
        }
        let step = usize::try_from(range.step).unwrap_or(1);
        let down = (1..=range.start).rev().step_by(step);
        counted.extend(down.map(|start| Range { start, end: None, step: 0 }));
    }
    Ok(Field(counted))
}

/// The whole seconds in which a field of microseconds has a value.
fn whole_seconds(micros: &Field) -> Field {
    let mut seconds = Vec::new();
    for range in &micros.0 {
        let (start, end) = (range.start / SECOND, range.end.unwrap_or(SECONDS.to));
        if (1..SECOND).contains(&range.step) {
            seconds.push(Range { start, end: Some(end / SECOND), step: 1 });
        } else {
            seconds.extend(range.values(end).into_iter().map(|micro| Range {
                start: micro / SECOND,
                end: None,
                step: 0,
            }));
        }
    }
    Field(seconds)
}

/// Two-digit years are those from 1970 to 2069.
fn century(field: Field) -> Field {
    let full = |year: u32| match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        year => year,
    };
    Field(
        field
            .0
            .into_iter()
            .map(|range| Range { start: full(range.start), end: range.end.map(full), ..range })
            .collect(),
    )
}

fn checked(field: Field, limits: FieldLimits) -> Result<Field, String> {
    let FieldLimits { name, from, to } = limits;
    for range in &field.0 {
        for value in [Some(range.start), range.end].into_iter().flatten() {
            if !(from..=to).contains(&value) {
                return Err(format!("there is no {name} {value}: it is from {from} to {to}"));
            }
        }
        if range.step > to - from {
            return Err(format!("every {} is more than the {to} that a {name} can be", range.step));
        }
        // Counted from the end of a month, steps lead downwards: see [`counted_down`].
        let is_beyond = to != LAST_DAYS.to && range.end.is_none() && range.start.saturating_add(range.step) > to;
        if is_beyond {
            return Err(format!("{} and every {} behind it is beyond the last {name}, {to}", range.start, range.step));
        }
        if range.end.is_some_and(|end| end < range.start) {
            return Err(format!("a range of the {name} goes from the lower to the higher value"));
        }
    }
    Ok(field)
}
