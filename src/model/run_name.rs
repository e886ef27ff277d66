//! Names of objects that a run creates on a server for itself: directories next to the server's data, databases,
//! temporary tables.

use chrono::{DateTime, Utc};

/// The prefix of a restore's staging directories.
pub const RESTORE_PREFIX: &str = "chsnap_restore_";

/// The prefix of a drill's databases.
pub const DRILL_PREFIX: &str = "chsnap_drill_";

/// The name of an object that one run creates: `<prefix><UTC digits>_<8 hex digits>`.
#[must_use]
pub fn run_name(prefix: &str, now: DateTime<Utc>, random: u32) -> String {
    format!("{prefix}{}_{random:08x}", now.format("%Y%m%d%H%M%S"))
}

/// Whether [`run_name`] can give this name with this prefix.
#[must_use]
pub fn is_run_name(prefix: &str, name: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.split_once('_'));
    let is_digits = |text: &str| text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    rest.is_some_and(|(time, random)| is_digits(time) && is_random(random))
}

fn is_random(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a database is a drill's own: it contains no data of the server's users.
#[must_use]
pub fn is_drill_database(name: &str) -> bool {
    is_run_name(DRILL_PREFIX, name)
}

/// Whether a database is chsnap's own: a drill's, or that of a restore's temporary tables.
#[must_use]
pub fn is_own_database(name: &str) -> bool {
    is_drill_database(name) || is_run_name(RESTORE_PREFIX, name)
}

/// The purpose of a temporary table of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemporaryRole {
    /// A restored table until it has its own name. After it was exchanged with the table that it replaces, this is the
    /// replaced table.
    New,
    /// A replaced table, if names cannot be exchanged.
    Old,
    /// A table with the columns of the live one, through which partitions pass.
    Fit,
}

impl TemporaryRole {
    const ALL: [Self; 3] = [Self::New, Self::Old, Self::Fit];

    const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Fit => "fit",
        }
    }
}

/// The name of a temporary table: `chsnap_<8 hex digits>_<new|old|fit><number>`. `run` is a [`run_name`], and `number`
/// that of the table in its plan.
#[must_use]
pub fn temporary_table(run: &str, role: TemporaryRole, number: usize) -> String {
    let random = run.rsplit('_').next().unwrap_or_default();
    format!("chsnap_{random}_{}{number}", role.word())
}

/// Whether [`temporary_table`] can give this name.
#[must_use]
pub fn is_temporary_table(name: &str) -> bool {
    let Some((random, rest)) = name.strip_prefix("chsnap_").and_then(|rest| rest.split_once('_')) else { return false };
    let number = TemporaryRole::ALL.iter().find_map(|role| rest.strip_prefix(role.word()));
    is_random(random) && number.is_some_and(|number| number.parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::{
        DRILL_PREFIX, RESTORE_PREFIX, TemporaryRole, is_drill_database, is_run_name, is_temporary_table, run_name,
        temporary_table,
    };

    #[test]
    fn only_names_of_runs_are_recognized_as_such() {
        let now = "2026-11-22T02:00:00Z".parse().expect("a time");
        let name = run_name(DRILL_PREFIX, now, 0x00ab_cdef);
        assert_eq!(name, "chsnap_drill_20261122020000_00abcdef");
        assert!(is_drill_database(&name) && !is_run_name("other_", &name));
        for name in ["chsnap_drill_", "chsnap_drill_mine", "store", "chsnap_drill_20261122020000_0000000g"] {
            assert!(!is_drill_database(name), "{name}");
        }
    }
    #[test]
    fn temporary_tables_are_known_by_their_names() {
        let now = "2026-11-22T02:00:00Z".parse().expect("a time");
        let run = run_name(RESTORE_PREFIX, now, 0x00ab_cdef);
        for role in TemporaryRole::ALL {
            assert!(is_temporary_table(&temporary_table(&run, role, 12)), "{role:?}");
        }
        assert_eq!(temporary_table(&run, TemporaryRole::New, 0), "chsnap_00abcdef_new0");
        for name in ["chsnap_00abcdef_new", "chsnap_00abcdef_newest", "chsnap_new0", "orders", "chsnap_00abcdeg_new0"] {
            assert!(!is_temporary_table(name), "{name}");
        }
    }
}
