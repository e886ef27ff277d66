//! Names of what a run makes on a server for itself: directories beside its data, databases, temporary tables.

use chrono::{DateTime, Utc};

/// What names of a restore's staging directories begin with.
pub const RESTORE_PREFIX: &str = "chsnap_restore_";

/// What names of a drill's databases begin with.
pub const DRILL_PREFIX: &str = "chsnap_drill_";

/// The name of something that one run makes: `<prefix><UTC digits>_<8 hex digits>`.
#[must_use]
pub fn run_name(prefix: &str, now: DateTime<Utc>, random: u32) -> String {
    format!("{prefix}{}_{random:08x}", now.format("%Y%m%d%H%M%S"))
}

/// Whether a name is one that [`run_name`] gives with this prefix.
#[must_use]
pub fn is_run_name(prefix: &str, name: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.split_once('_'));
    let is_digits = |text: &str| text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    rest.is_some_and(|(time, random)| is_digits(time) && is_hex(random))
}

/// Whether a database is a drill's own: nothing in it is data of the server's users.
#[must_use]
pub fn is_drill_database(name: &str) -> bool {
    is_run_name(DRILL_PREFIX, name)
}

#[cfg(test)]
mod tests {
    use super::{DRILL_PREFIX, is_drill_database, is_run_name, run_name};

    #[test]
    fn only_names_of_runs_are_taken_for_such() {
        let now = "2026-11-22T02:00:00Z".parse().expect("a time");
        let name = run_name(DRILL_PREFIX, now, 0x00ab_cdef);
        assert_eq!(name, "chsnap_drill_20261122020000_00abcdef");
        assert!(is_drill_database(&name) && !is_run_name("other_", &name));
        for name in ["chsnap_drill_", "chsnap_drill_mine", "store", "chsnap_drill_20261122020000_0000000g"] {
            assert!(!is_drill_database(name), "{name}");
        }
    }
}
