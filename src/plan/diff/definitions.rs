//! Compares definitions by what they define, and shows them without their secrets.

use similar::TextDiff;

use crate::model::TableName;
use crate::plan::definition::quote;
use crate::plan::{Mapping, ParsedDefinition};

use super::layout::break_into_lines;

/// A definition of one side, and whether it is the server's own file.
pub(super) type SideDefinition = (String, bool);

/// How a definition changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DefinitionChange {
    /// Both define the same object.
    Unchanged,
    /// The two differ: a unified diff without secrets.
    Shown(String),
    /// The two differ, and their text is not shown, for this reason.
    Hidden(&'static str),
    /// The two cannot be compared, for this reason.
    NotCompared(String),
}

impl DefinitionChange {
    /// Whether the two are known to differ.
    pub(super) fn is_difference(&self) -> bool {
        matches!(self, Self::Shown(_) | Self::Hidden(_))
    }
}

const DIFFERENT_KINDS: &str = "one is the server's file, the other what it prints";
const ONLY_SECRETS: &str = "its definitions differ, only in secrets, which are not shown";
const UNREADABLE: &str = "its definitions differ; they are not shown, because chsnap cannot find the secrets in them";
const UNREADABLE_ALONE: &str = "its definition is not shown, because chsnap cannot find the secrets in it";

/// Compares the definitions of a table. If only one side has the table, all of its definition is the difference.
pub(super) fn compare_definitions(
    before: Option<&SideDefinition>,
    after: Option<&SideDefinition>,
    names: (&str, &str),
) -> DefinitionChange {
    let (Some((before, is_file)), Some((after, is_other_file))) = (before, after) else {
        let shown =
            |text: Option<&SideDefinition>| text.map(|(text, _)| ParsedDefinition::parse(text).map(|d| shown(&d)));
        return match (shown(before), shown(after)) {
            (Some(Err(_)), _) | (_, Some(Err(_))) => DefinitionChange::Hidden(UNREADABLE_ALONE),
            (None, None) => DefinitionChange::Unchanged,
            (before, after) => {
                let text = |shown: Option<Result<String, _>>| shown.and_then(Result::ok).unwrap_or_default();
                DefinitionChange::Shown(unified(&text(before), &text(after), names))
            }
        };
    };
    if before == after {
        return DefinitionChange::Unchanged;
    }
    match (ParsedDefinition::parse(before), ParsedDefinition::parse(after)) {
        (Ok(before), Ok(after)) if before.is_like(&after, &Mapping::default()) => DefinitionChange::Unchanged,
        (Ok(before), Ok(after)) => {
            let (before, after) = (shown(&before), shown(&after));
            if before == after {
                DefinitionChange::Hidden(ONLY_SECRETS)
            } else {
                DefinitionChange::Shown(unified(&before, &after, names))
            }
        }
        _ if is_file != is_other_file => DefinitionChange::NotCompared(DIFFERENT_KINDS.to_owned()),
        _ => DefinitionChange::Hidden(UNREADABLE),
    }
}

/// The note on a table that differs only in a TTL that it has lost, as after `restore --hold-ttl`.
pub(super) fn missing_ttl(name: &TableName, before: &str, after: &str) -> Option<String> {
    // The note contains the remedy, so its secrets are removed.
    let masked = ParsedDefinition::parse(&ParsedDefinition::parse(before).ok()?.masked()).ok()?;
    let quoted = format!("{}.{}", quote(&name.database, '`'), quote(&name.table, '`'));
    let statements = ParsedDefinition::parse(after).ok()?.missing_ttl(&masked, &quoted);
    (!statements.is_empty()).then(|| format!("its TTL is left out; to bring it back: {}", statements.join("; ")))
}

/// A definition for display: without secrets, name and UUIDs, on several lines.
fn shown(definition: &ParsedDefinition) -> String {
    let mut definition = definition.clone();
    definition.uuid = None;
    definition.inner_uuid = None;
    break_into_lines(&definition.masked())
}

fn unified(before: &str, after: &str, (name_before, name_after): (&str, &str)) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(name_before, name_after).to_string()
}

#[cfg(test)]
mod tests {
    use super::{DefinitionChange, ONLY_SECRETS, UNREADABLE, UNREADABLE_ALONE, compare_definitions};

    fn compare(before: Option<&str>, after: Option<&str>) -> DefinitionChange {
        let defined = |text: Option<&str>| text.map(|text| (text.to_owned(), true));
        compare_definitions(defined(before).as_ref(), defined(after).as_ref(), ("a", "b"))
    }

    const MYSQL: &str = "ATTACH TABLE t\n(\n    `a` UInt8\n)\nENGINE = MySQL('h:1', 'd', 't', 'u', 'hunter2')\n";

    #[test]
    fn definitions_that_mean_the_same_are_unchanged() {
        for other in [
            "ATTACH TABLE t (a UInt8) ENGINE = MySQL('h:1','d','t','u','hunter2')",
            "CREATE TABLE d.t (`a` UInt8) ENGINE = MySQL('h:1', 'd', 't', 'u', '[HIDDEN]')",
            "ATTACH TABLE _ UUID '10000000-0000-4000-8000-000000000000' (a UInt8) ENGINE = MySQL('h:1', 'd', 't', 'u', 'hunter2')",
        ] {
            assert_eq!(compare(Some(MYSQL), Some(other)), DefinitionChange::Unchanged, "{other}");
            assert_eq!(compare(Some(other), Some(MYSQL)), DefinitionChange::Unchanged, "{other}");
        }
    }

    #[test]
    fn differences_are_shown_without_secrets() {
        let DefinitionChange::Shown(text) = compare(Some(MYSQL), Some(&MYSQL.replace("UInt8", "UInt16"))) else {
            panic!("it changed")
        };
        assert!(text.contains("-    `a` UInt8\n+    `a` UInt16\n") && text.contains("'[HIDDEN]'"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        for (before, after, sign) in [(Some(MYSQL), None, '-'), (None, Some(MYSQL), '+')] {
            let DefinitionChange::Shown(text) = compare(before, after) else { panic!("it is all new, or gone") };
            assert!(text.contains(&format!("{sign}    `a` UInt8\n")) && !text.contains("hunter2"), "{text}");
        }
        // The difference is not the hidden secret but another one.
        let other = MYSQL.replace("hunter2", "[HIDDEN]").replace("h:1", "h:2");
        assert!(matches!(compare(Some(MYSQL), Some(&other)), DefinitionChange::Shown(_)));
    }

    #[test]
    fn secrets_that_differ_are_a_difference_that_is_not_shown() {
        let other = MYSQL.replace("hunter2", "hunter3");
        assert_eq!(compare(Some(MYSQL), Some(&other)), DefinitionChange::Hidden(ONLY_SECRETS));
    }

    #[test]
    fn text_that_is_no_definition_is_never_shown() {
        for other in ["ENGINE = MySQL('hunter2'", "", MYSQL] {
            let text = "ATTACH TABLE t (a UInt8) ENGINE = MySQL('h', 'd', 't', 'u', 'hunter2";
            assert_eq!(compare(Some(text), Some(other)), DefinitionChange::Hidden(UNREADABLE), "{other}");
            assert_eq!(compare(Some(text), Some(text)), DefinitionChange::Unchanged);
            assert_eq!(compare(Some(text), None), DefinitionChange::Hidden(UNREADABLE_ALONE));
        }
    }
}
