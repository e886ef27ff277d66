//! Settings that shorten an answer without an error, and the values that neutralize them.
//!
//! A settings profile, or a proxy, may add any of them to each statement. The statement's own settings win, unless the
//! user is readonly or a constraint forbids it. So a server is asked once which of these settings are in force, and
//! each list then carries the neutral values of those alone: an ordinary server receives none.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::ServerError;

/// A setting and a value.
pub(super) type NeutralSetting = (&'static str, String);

/// Settings that shorten, redirect or outdate an answer of any length, with their neutral values.
const ALWAYS: [(&str, &str); 8] = [
    ("limit", "0"),
    ("offset", "0"),
    ("additional_result_filter", ""),
    ("additional_table_filters", "{}"),
    ("use_query_cache", "0"),
    ("page", "0"),
    ("filter", ""),
    ("select", ""),
];

/// How many of [`ALWAYS`] servers know, by their age. If any of them is in force, a server may be unable to list its
/// settings.
const KNOWN: [usize; 4] = [8, 5, 4, 2];

/// Servers remove these from a statement's settings once they have read them: the list of settings always shows them as
/// 0, but marks them as changed if they are in force.
const UNSHOWN: [&str; 2] = ["limit", "offset"];

/// The value of one of [`UNSHOWN`] that may be in force.
const UNKNOWN: &str = "?";

/// A statement that reaches a limit fails with an error if the limit's mode is `throw`; in other modes it returns a
/// part of the answer.
const MODES: [(&str, &[&str]); 11] = [
    ("read_overflow_mode", &["max_rows_to_read", "max_bytes_to_read"]),
    ("read_overflow_mode_leaf", &["max_rows_to_read_leaf", "max_bytes_to_read_leaf"]),
    ("result_overflow_mode", &["max_result_rows", "max_result_bytes"]),
    ("timeout_overflow_mode", &[MAX_TIME]),
    ("timeout_overflow_mode_leaf", &[MAX_TIME_LEAF]),
    ("group_by_overflow_mode", &["max_rows_to_group_by"]),
    ("sort_overflow_mode", &["max_rows_to_sort", "max_bytes_to_sort"]),
    ("distinct_overflow_mode", &["max_rows_in_distinct", "max_bytes_in_distinct"]),
    ("set_overflow_mode", &["max_rows_in_set", "max_bytes_in_set"]),
    ("join_overflow_mode", &["max_rows_in_join", "max_bytes_in_join"]),
    ("transfer_overflow_mode", &["max_rows_to_transfer", "max_bytes_to_transfer"]),
];

/// The value of each mode with which no answer is cut.
const THROW: &str = "throw";

// An administrator's time limits are kept: with `throw` they cut nothing.
const MAX_TIME: &str = "max_execution_time";
const MAX_TIME_LEAF: &str = "max_execution_time_leaf";

/// Settings that show databases which `system.databases` may hide.
const SHOWING: [&str; 2] = ["show_data_lake_catalogs_in_system_tables", "show_remote_databases_in_system_tables"];

/// The values of these settings on a server; a single row, so that most of them cannot cut it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ProbeRow {
    names: Vec<String>,
    values: Vec<String>,
    changed: Vec<u8>,
}

/// The statement that reads the values of all settings that matter here.
pub(super) fn probe_sql() -> String {
    let modes = MODES.iter().flat_map(|(mode, limits)| std::iter::once(mode).chain(*limits));
    let names = ALWAYS.iter().map(|(name, _)| name).chain(modes).chain(&SHOWING);
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    format!(
        "SELECT groupArray(name) AS names, groupArray(value) AS values, groupArray(changed) AS changed \
         FROM system.settings WHERE name IN ({})",
        names.join(", ")
    )
}

type Values = BTreeMap<String, String>;

/// The settings that are in force on a server, and the ones that statements therefore carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Neutral {
    /// Sent with every list.
    lists: Vec<NeutralSetting>,
    /// Sent with reads of the user's own tables: without those that lift an administrator's limits.
    reads: Vec<NeutralSetting>,
    /// Sent with lists of databases in addition.
    databases: Vec<NeutralSetting>,
    /// Settings that may cut lists nevertheless, as `name = value`.
    cut_lists: Vec<String>,
    /// Settings that may cut reads.
    cut_reads: Vec<String>,
}

impl Neutral {
    /// Determines the settings. `ask` runs [`probe_sql`] with settings.
    ///
    /// # Errors
    /// If the server does not answer, or does not report which settings are in force.
    pub(super) fn find(
        ask: impl Fn(&[NeutralSetting]) -> Result<Option<ProbeRow>, ServerError>,
    ) -> Result<Self, ServerError> {
        let ask = |settings: &[NeutralSetting]| ask(settings).map(|row| row.map(|row| values(row, settings)));
        let (mut forced, mut found) = (Vec::new(), ask(&[]));
        for count in KNOWN {
            if !hides(&found) {
                break;
            }
            let neutral: Vec<NeutralSetting> =
                ALWAYS.iter().take(count).map(|(name, value)| (*name, (*value).to_owned())).collect();
            let again = ask(&neutral);
            if !hides(&again) {
                (forced, found) = (neutral, again);
            }
        }
        let before = found?.ok_or_else(|| ServerError::Short { list: "settings".to_owned(), rows: 0, count: 1 })?;
        let wanted = wanted(&before, forced);
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let accepts = |settings: &[NeutralSetting]| {
            Ok(match ask(settings) {
                Ok(values) => values,
                Err(ServerError::Exception { .. }) => None,
                Err(error) => return Err(error),
            })
        };
        let mut sent = wanted;
        let mut after = accepts(&sent)?;
        if after.is_none() {
            let mut accepted = Vec::new();
            for setting in sent {
                if accepts(std::slice::from_ref(&setting))?.is_some() {
                    accepted.push(setting);
                }
            }
            sent = accepted;
            after = accepts(&sent)?;
        }
        // Uses the server's values while these settings are sent: a bridge in between may not forward them.
        Ok(Self::of(sent, &before, &after.unwrap_or_else(|| before.clone())))
    }

    fn of(sent: Vec<NeutralSetting>, before: &Values, after: &Values) -> Self {
        let (databases, lists): (Vec<_>, Vec<_>) = sent.into_iter().partition(|(name, _)| SHOWING.contains(name));
        let reads: Vec<NeutralSetting> = lists.iter().filter(|(name, _)| !is_limit(name)).cloned().collect();
        let value = |name: &String, value: &String| {
            (name.clone(), if is_limit(name) { before.get(name).unwrap_or(value).clone() } else { value.clone() })
        };
        let under_limits = after.iter().map(|(name, other)| value(name, other)).collect();
        Self { lists, reads, databases, cut_lists: cutting(after), cut_reads: cutting(&under_limits) }
    }

    /// The settings to send with a list of this system table.
    ///
    /// # Errors
    /// If it may be cut short by settings that this user may not change.
    pub(super) fn for_list(&self, table: &str) -> Result<Vec<NeutralSetting>, ServerError> {
        if !self.cut_lists.is_empty() {
            return Err(ServerError::Cut { list: format!("system.{table}"), settings: self.cut_lists.clone() });
        }
        let databases = if table == "databases" { self.databases.as_slice() } else { &[] };
        Ok(self.lists.iter().chain(databases).cloned().collect())
    }

    /// The settings to send with a read of rows of the user's own.
    ///
    /// # Errors
    /// As [`Neutral::for_list`].
    pub(super) fn for_reads(&self) -> Result<Vec<NeutralSetting>, ServerError> {
        if !self.cut_reads.is_empty() {
            return Err(ServerError::Cut { list: "rows of a table".to_owned(), settings: self.cut_reads.clone() });
        }
        Ok(self.reads.clone())
    }
}

/// Whether settings in force may be the reason for this answer.
fn hides(found: &Result<Option<Values>, ServerError>) -> bool {
    matches!(found, Ok(None) | Err(ServerError::Exception { .. } | ServerError::Answer { .. }))
}

/// The values of the settings while `sent` was sent.
fn values(row: ProbeRow, sent: &[NeutralSetting]) -> Values {
    let value = |((name, value), changed): ((String, String), u8)| {
        let is_unshown = changed != 0 && UNSHOWN.contains(&name.as_str());
        let is_sent = sent.iter().any(|(sent, _)| *sent == name);
        (name, if is_unshown && !is_sent { UNKNOWN.to_owned() } else { value })
    };
    row.names.into_iter().zip(row.values).zip(row.changed).map(value).collect()
}

fn is_limit(name: &str) -> bool {
    MODES.iter().any(|(_, limits)| limits.contains(&name))
}

/// Neutral values for the settings in force, and for those that had to be sent to find out.
fn wanted(values: &Values, forced: Vec<NeutralSetting>) -> Vec<NeutralSetting> {
    let mut wanted = forced;
    let mut want = |name: &'static str, neutral: &str| {
        let is_in_force = values.get(name).is_some_and(|value| !is_neutral(value, neutral));
        if is_in_force && !wanted.iter().any(|(other, _)| *other == name) {
            wanted.push((name, neutral.to_owned()));
        }
    };
    for (name, neutral) in ALWAYS {
        want(name, neutral);
    }
    for (mode, limits) in MODES {
        want(mode, THROW);
        for limit in limits.iter().filter(|limit| ![MAX_TIME, MAX_TIME_LEAF].contains(*limit)) {
            want(limit, "0");
        }
    }
    for name in SHOWING {
        want(name, "1");
    }
    wanted
}

fn is_neutral(value: &str, neutral: &str) -> bool {
    value == neutral || matches!((value, neutral), ("", "0" | "{}") | ("false", "0") | ("true", "1"))
}

/// The settings that can cut an answer under these values, as `name = value`.
fn cutting(values: &Values) -> Vec<String> {
    let shown = |name: &str| {
        let text = |value: &String| if value == UNKNOWN { name.to_owned() } else { format!("{name} = {value}") };
        values.get(name).map(text)
    };
    let is_set = |name: &str, neutral: &str| values.get(name).is_some_and(|value| !is_neutral(value, neutral));
    let always = ALWAYS.iter().filter(|(name, neutral)| is_set(name, neutral)).filter_map(|(name, _)| shown(name));
    let modes = MODES.iter().filter(|(mode, _)| is_set(mode, THROW)).flat_map(|(mode, limits)| {
        let limits: Vec<String> =
            limits.iter().filter(|limit| is_set(limit, "0")).filter_map(|limit| shown(limit)).collect();
        let mode = if limits.is_empty() { None } else { shown(mode) };
        mode.into_iter().chain(limits)
    });
    always.chain(modes).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Neutral, NeutralSetting, ProbeRow};
    use crate::server::error::ServerError;

    /// A server with these values, which lets a statement change those that are not in `fixed`.
    struct Profile<'a> {
        values: &'a [(&'a str, &'a str)],
        fixed: &'a [&'a str],
    }

    impl Profile<'_> {
        fn answer(&self, settings: &[NeutralSetting]) -> Result<Option<ProbeRow>, ServerError> {
            let mut values: BTreeMap<&str, &str> = self.values.iter().copied().collect();
            for (name, value) in settings {
                if !values.contains_key(name) || self.fixed.contains(name) {
                    let code = if values.contains_key(name) { 452 } else { 115 };
                    return Err(ServerError::Exception { code, query: String::new(), message: (*name).to_owned() });
                }
                values.insert(name, value);
            }
            let is_hidden = !matches!(values.get("offset"), None | Some(&"0"));
            let is_unshown = |name: &str| matches!(name, "limit" | "offset");
            let own: BTreeMap<&str, &str> = self.values.iter().copied().collect();
            let changed = |(name, value): (&&str, &&str)| u8::from(*value != "0" || own.get(name) != Some(value));
            Ok((!is_hidden).then_some(ProbeRow {
                names: values.keys().map(ToString::to_string).collect(),
                values: values
                    .iter()
                    .map(|(name, value)| if is_unshown(name) { "0".to_owned() } else { (*value).to_owned() })
                    .collect(),
                changed: values.iter().map(changed).collect(),
            }))
        }

        fn neutral(&self) -> Neutral {
            Neutral::find(|settings| self.answer(settings)).expect("an answer")
        }
    }

    fn names(settings: &[NeutralSetting]) -> Vec<&str> {
        settings.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn an_ordinary_server_is_sent_nothing() {
        let values = [("limit", "0"), ("read_overflow_mode", "throw"), ("max_rows_to_read", "0")];
        assert_eq!(Profile { values: &values, fixed: &values.map(|(name, _)| name) }.neutral(), Neutral::default());
    }

    #[test]
    fn lists_are_asked_without_limits_and_reads_of_tables_keep_those_that_only_throw() {
        let values = [("read_overflow_mode", "break"), ("max_rows_to_read", "3"), ("max_execution_time", "60")];
        let neutral = Profile { values: &values, fixed: &[] }.neutral();
        let lists = neutral.for_list("tables").expect("nothing cuts it");
        assert_eq!(names(&lists), ["read_overflow_mode", "max_rows_to_read"]);
        assert_eq!(names(&neutral.for_reads().expect("nothing cuts it")), ["read_overflow_mode"]);
    }

    #[test]
    fn a_limit_that_throws_cuts_nothing_though_it_cannot_be_lifted() {
        let values = [("read_overflow_mode", "throw"), ("max_rows_to_read", "3"), ("limit", "7")];
        let neutral = Profile { values: &values, fixed: &["max_rows_to_read"] }.neutral();
        assert_eq!(names(&neutral.for_list("parts").expect("nothing cuts it")), ["limit"]);
    }

    #[test]
    fn a_setting_that_cannot_be_neutralized_is_named_with_its_list() {
        let values = [("result_overflow_mode", "break"), ("max_result_rows", "5"), ("limit", "7"), ("offset", "0")];
        let neutral = Profile { values: &values, fixed: &["limit", "result_overflow_mode"] }.neutral();
        let error = neutral.for_list("parts").expect_err("it may be cut");
        let ServerError::Cut { list, settings } = error else { panic!("{error}") };
        assert_eq!((list.as_str(), settings), ("system.parts", vec!["limit".to_owned()]));
        let error = neutral.for_reads().expect_err("it may be cut");
        let ServerError::Cut { settings, .. } = error else { panic!("{error}") };
        assert_eq!(settings, ["limit", "result_overflow_mode = break", "max_result_rows = 5"]);
    }

    #[test]
    fn settings_that_hide_the_settings_are_found_out_on_servers_of_any_age() {
        let old = [("limit", "0"), ("offset", "1")];
        let middle =
            [("limit", "0"), ("offset", "1"), ("additional_result_filter", ""), ("additional_table_filters", "{}")];
        for values in [&old[..], &middle] {
            let lists = Profile { values, fixed: &[] }.neutral().for_list("tables").expect("nothing cuts it");
            assert!(names(&lists).contains(&"offset"), "{lists:?}");
        }
        let hidden = Profile { values: &old, fixed: &["offset"] };
        let error = Neutral::find(|settings| hidden.answer(settings)).expect_err("it does not say");
        assert!(matches!(error, ServerError::Short { .. }), "{error}");
    }
}
