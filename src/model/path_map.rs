//! Translates a server's paths to paths on this host, as needed with a container.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One `SERVER=HERE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    server: PathBuf,
    here: PathBuf,
}

/// A text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write SERVER=HERE, two absolute paths, as in /var/lib/clickhouse=/srv/clickhouse")]
pub struct PathRuleError;

impl FromStr for PathRule {
    type Err = PathRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (server, here) = text.split_once('=').ok_or(PathRuleError)?;
        let (server, here) = (PathBuf::from(server), PathBuf::from(here));
        if server.is_absolute() && here.is_absolute() { Ok(Self { server, here }) } else { Err(PathRuleError) }
    }
}

/// The translation of the paths that a server gives to paths on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap {
    rules: Vec<PathRule>,
}

impl PathMap {
    /// A map of these rules. If several match a path, the longest applies.
    #[must_use]
    pub fn new(rules: Vec<PathRule>) -> Self {
        Self { rules }
    }

    /// The path on this host for a path of the server; the same path if no rule matches.
    #[must_use]
    pub fn local(&self, path: &Path) -> PathBuf {
        let fitting = self.rules.iter().filter_map(|rule| Some((rule, path.strip_prefix(&rule.server).ok()?)));
        fitting
            .max_by_key(|(rule, _)| rule.server.components().count())
            .map_or_else(|| path.to_owned(), |(rule, rest)| rule.here.join(rest))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{PathMap, PathRule, PathRuleError};

    #[test]
    fn the_longest_rule_that_fits_whole_names_holds() {
        let rules = ["/var/lib/ch=/srv/ch", "/var/lib/ch/disks/two=/mnt/two"];
        let map = PathMap::new(rules.iter().map(|rule| rule.parse().expect("a rule")).collect());
        let local = |path: &str| map.local(Path::new(path));
        assert_eq!(local("/var/lib/ch/store/a"), PathBuf::from("/srv/ch/store/a"));
        assert_eq!(local("/var/lib/ch/disks/two/"), PathBuf::from("/mnt/two/"));
        assert_eq!(local("/var/lib/chx/a"), PathBuf::from("/var/lib/chx/a"));
    }

    #[test]
    fn a_rule_has_two_absolute_paths() {
        for text in ["", "/a", "a=/b", "/a=b", "=/b", "/a="] {
            assert_eq!(text.parse::<PathRule>(), Err(PathRuleError), "{text}");
        }
    }
}
