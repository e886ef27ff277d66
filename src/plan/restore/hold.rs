//! Settings that stop a table's merges, so that it can be compared before anything expires.
//!
//! Tried on ClickHouse 26.9 with six kinds of TTL (rows, whole parts, columns, GROUP BY, DELETE WHERE, recompression):
//! with these three in the ATTACH nothing was merged or dropped, and after `RESET SETTING` the definition was the
//! original one.

use serde::{Deserialize, Serialize};

use crate::plan::ParsedDefinition;

/// The settings, each with the value that holds a table.
pub const HOLD_SETTINGS: [(&str, u64); 3] = [
    ("max_number_of_merges_with_ttl_in_pool", 0),
    ("max_bytes_to_merge_at_max_space_in_pool", 1),
    ("max_bytes_to_merge_at_min_space_in_pool", 1),
];

/// A temporary setting of a held table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSetting {
    /// Its name.
    pub name: String,
    /// The value in the table's own definition, if it has one.
    pub own_value: Option<u64>,
}

/// The settings that hold a definition; empty if the server lacks one of them, or the definition cannot have any.
pub(super) fn held_settings(definition: &ParsedDefinition, known: &dyn Fn(&str) -> bool) -> Vec<HeldSetting> {
    if !HOLD_SETTINGS.iter().all(|(name, _)| known(name)) || hold(definition) == *definition {
        return Vec::new();
    }
    let held = HOLD_SETTINGS.iter().map(|(name, _)| {
        let own_value = definition.setting(name);
        // A value that is no plain number cannot be restored.
        own_value
            .map(|value| value.parse().map_err(drop))
            .transpose()
            .map(|own_value| HeldSetting { name: (*name).to_owned(), own_value })
    });
    held.collect::<Result<_, ()>>().unwrap_or_default()
}

/// The definition of a held table.
#[must_use]
pub fn hold(definition: &ParsedDefinition) -> ParsedDefinition {
    let values = HOLD_SETTINGS.map(|(name, value)| (name, value.to_string()));
    let settings: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    definition.with_settings(&settings)
}

/// The definition of a held table once it is released.
pub(super) fn released(definition: &ParsedDefinition, held: &[HeldSetting]) -> ParsedDefinition {
    let reset: Vec<&str> = held.iter().filter(|held| held.own_value.is_none()).map(|held| held.name.as_str()).collect();
    let own: Vec<(&str, String)> =
        held.iter().filter_map(|held| Some((held.name.as_str(), held.own_value?.to_string()))).collect();
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let changed = definition.without_settings(&reset);
    if own.is_empty() { changed } else { changed.with_settings(&own) }
}

/// The text of a definition as it is after the table is released, if these settings hold the table now. `None` for a
/// definition without them, or one that cannot be parsed.
#[must_use]
pub fn released_text(text: &str, held: &[HeldSetting]) -> Option<String> {
    let definition = ParsedDefinition::parse(text).ok()?;
    let is_noted = HOLD_SETTINGS.iter().all(|(name, _)| held.iter().any(|held| held.name == *name));
    let is_held = is_noted && has_hold_settings(&definition);
    if is_held { definition.replaced_in(text, &released(&definition, held)) } else { None }
}

/// Whether the definition of a table has all the settings that hold it.
#[must_use]
pub fn is_held(text: &str) -> bool {
    // Most definitions need not be parsed for that.
    HOLD_SETTINGS.iter().all(|(name, _)| text.contains(name))
        && ParsedDefinition::parse(text).is_ok_and(|definition| has_hold_settings(&definition))
}

/// Whether a definition, as its owner wrote it, has the settings that hold the table, quoted or not: then nothing in it
/// expires before it is compared, nor afterwards.
pub(super) fn holds_itself(definition: &ParsedDefinition) -> bool {
    HOLD_SETTINGS
        .iter()
        .all(|(name, value)| definition.setting(name).is_some_and(|own| own.trim_matches('\'').parse() == Ok(*value)))
}

fn has_hold_settings(definition: &ParsedDefinition) -> bool {
    HOLD_SETTINGS.iter().all(|(name, value)| definition.setting(name) == Some(value.to_string()))
}

/// The statements that restore the own settings of a held table, whose name is quoted. Names not in [`HOLD_SETTINGS`]
/// are ignored: they come from a file.
#[must_use]
pub fn release_statements(quoted_table: &str, held: &[HeldSetting]) -> Vec<String> {
    let held = || held.iter().filter(|held| HOLD_SETTINGS.iter().any(|(name, _)| held.name == *name));
    let reset: Vec<&str> = held().filter(|held| held.own_value.is_none()).map(|held| held.name.as_str()).collect();
    let own: Vec<String> = held().filter_map(|held| Some(format!("{} = {}", held.name, held.own_value?))).collect();
    let mut statements = Vec::new();
    if !own.is_empty() {
        statements.push(format!("ALTER TABLE {quoted_table} MODIFY SETTING {}", own.join(", ")));
    }
    if !reset.is_empty() {
        statements.push(format!("ALTER TABLE {quoted_table} RESET SETTING {}", reset.join(", ")));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::{HeldSetting, held_settings, hold, holds_itself, is_held, release_statements, released_text};
    use crate::plan::ParsedDefinition;

    fn definition(settings: &str) -> ParsedDefinition {
        ParsedDefinition::parse(&format!("ATTACH TABLE _ (k UInt8) ENGINE = MergeTree ORDER BY k{settings}"))
            .expect("one")
    }

    #[test]
    fn a_held_table_gets_back_what_its_definition_had() {
        let own = definition(" SETTINGS max_bytes_to_merge_at_max_space_in_pool = 7, index_granularity = 8192");
        let held = held_settings(&own, &|_| true);
        assert_eq!(hold(&own).setting("max_bytes_to_merge_at_max_space_in_pool").as_deref(), Some("1"));
        assert_eq!(hold(&own).setting("index_granularity").as_deref(), Some("8192"));
        assert!(super::released(&hold(&own), &held).is_like(&own, &crate::plan::Mapping::default()));
        let statements = release_statements("`d`.`t`", &held);
        assert_eq!(
            statements,
            [
                "ALTER TABLE `d`.`t` MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 7",
                "ALTER TABLE `d`.`t` RESET SETTING max_number_of_merges_with_ttl_in_pool, \
                 max_bytes_to_merge_at_min_space_in_pool",
            ]
        );
    }

    #[test]
    fn the_text_of_a_held_table_gets_back_what_it_had() {
        for settings in
            ["", "\nSETTINGS index_granularity = 8192", " SETTINGS max_bytes_to_merge_at_max_space_in_pool = 7"]
        {
            let text = format!(
                "ATTACH TABLE _ UUID '6f0d1a5c-8d2b-4c62-a6f3-3f6f4b0e3a11'\n(k UInt8)\nENGINE = MergeTree\nORDER BY k{settings}\n"
            );
            let own = ParsedDefinition::parse(&text).expect("a definition");
            let held = held_settings(&own, &|_| true);
            let stored = own.replaced_in(&text, &hold(&own)).expect("its text");
            assert!(stored.contains("max_number_of_merges_with_ttl_in_pool = 0"), "{stored}");
            assert!(is_held(&stored) && !is_held(&text));
            let back = released_text(&stored, &held).expect("it is held");
            assert!(back.starts_with("ATTACH TABLE _ UUID '6f0d1a5c-8d2b-4c62-a6f3-3f6f4b0e3a11'"), "{back}");
            let back = ParsedDefinition::parse(&back).expect("a definition");
            assert!(back.is_like(&own, &crate::plan::Mapping::default()), "{back:?}");
            assert_eq!(released_text(&text, &held), None, "it is not held");
            let others = held.get(1..).unwrap_or_default();
            assert_eq!(released_text(&stored, others), None, "one of its settings is its own");
        }
    }

    #[test]
    fn a_definition_that_holds_its_table_keeps_its_settings() {
        let own = definition(
            " SETTINGS max_number_of_merges_with_ttl_in_pool = 0, max_bytes_to_merge_at_max_space_in_pool = '1', \
             max_bytes_to_merge_at_min_space_in_pool = 1",
        );
        assert!(holds_itself(&own) && held_settings(&own, &|_| true).is_empty());
        assert!(holds_itself(&hold(&definition(""))) && held_settings(&hold(&definition("")), &|_| true).is_empty());
        for other in ["", " SETTINGS max_number_of_merges_with_ttl_in_pool = 0"] {
            assert!(!holds_itself(&definition(other)), "{other}");
        }
    }

    #[test]
    fn nothing_is_held_that_cannot_be_released() {
        assert_eq!(held_settings(&definition(""), &|_| true).len(), 3);
        assert!(held_settings(&definition(""), &|name| name != "max_number_of_merges_with_ttl_in_pool").is_empty());
        let odd = definition(" SETTINGS max_bytes_to_merge_at_max_space_in_pool = '1Gi'");
        assert!(held_settings(&odd, &|_| true).is_empty());
        let old =
            ParsedDefinition::parse("ATTACH TABLE _ (d Date, k UInt8) ENGINE = MergeTree(d, k, 8192)").expect("one");
        assert!(held_settings(&old, &|_| true).is_empty(), "the old syntax takes no settings");
        let foreign = HeldSetting { name: "x; DROP TABLE t".to_owned(), own_value: None };
        assert!(release_statements("t", &[foreign]).is_empty());
    }
}
