use proptest::prelude::*;

use super::parse;
use super::samples::{V18, V26};
use crate::plan::{Mapping, ParsedDefinition, Verb};

fn any_sample() -> impl Strategy<Value = &'static str> {
    let texts: Vec<&'static str> = V26.iter().chain(V18).map(|(_, text)| *text).collect();
    prop::sample::select(texts)
}

/// Fragments of definitions in any order, and some that terminate them.
fn any_text() -> impl Strategy<Value = String> {
    let words = [
        "ATTACH",
        "CREATE",
        "TABLE",
        "MATERIALIZED",
        "VIEW",
        "DICTIONARY",
        "_",
        "UUID",
        "'f881ab48-8e9e-4481-9367-dfdc03216dcb'",
        "TO",
        "INNER",
        "REFRESH",
        "EVERY",
        "1",
        "DAY",
        "DEPENDS",
        "ON",
        "a",
        ".",
        "b",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "ENGINE",
        "MergeTree",
        "ORDER BY",
        "TTL",
        "SETTINGS",
        "COMMENT",
        "'x",
        "'",
        "`",
        "\"",
        "\\",
        ";",
        "--",
        "/*",
        "*/",
        "\n",
        "AS",
        "SELECT",
        "SOURCE(CLICKHOUSE(",
        "QUERY",
        "merge(",
        "dictGet(",
        "remote(",
        "é",
        "$$",
        "PASSWORD",
        "s3(",
        "0.5",
        "#",
        "NULL",
        "TimeSeries",
        "SAMPLES",
    ];
    let fragment = prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,3}"];
    prop::collection::vec(fragment, 0..30).prop_map(|fragments| fragments.join(" "))
}

/// A valid head followed by anything.
fn any_definition() -> impl Strategy<Value = String> {
    let heads =
        ["ATTACH TABLE t (x UInt8) ENGINE =", "CREATE VIEW v AS", "CREATE DICTIONARY d (k UInt64) PRIMARY KEY", ""];
    (prop::sample::select(heads.to_vec()), any_text()).prop_map(|(head, text)| format!("{head} {text}"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any_definition()) {
        if let Ok(definition) = ParsedDefinition::parse(&text) {
            let mapping = super::mapping(&[("a.b", "c.d")]);
            let statement = definition.statement(Verb::Create, "x", (None, None), &mapping);
            prop_assert!(statement.starts_with("CREATE"));
            drop((definition.unresolved(&mapping), definition.with_settings(&[("a", "1")]), definition.storage()));
            drop((definition.without_ttl(), definition.ttl_statements("t"), definition.starting_empty(), definition.engine()));
            prop_assert!(definition.is_like(&definition, &Mapping::default()));
        }
    }

    #[test]
    fn a_statement_is_parsed_to_the_same_definition(text in any_definition()) {
        if let Ok(definition) = ParsedDefinition::parse(&text) {
            let uuids = (definition.uuid.as_ref(), definition.inner_uuid.as_ref());
            let statement = definition.statement(Verb::Attach, "x.`y`", uuids, &Mapping::default());
            prop_assert_eq!(ParsedDefinition::parse(&statement), Ok(definition));
        }
    }

    #[test]
    fn a_cut_definition_is_refused_or_parsed(text in any_sample(), length in any::<prop::sample::Index>()) {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let cut = text.get(..*length.get(&ends)).expect("a place between letters");
        if let Ok(definition) = ParsedDefinition::parse(cut) {
            let depth: i64 = cut.chars().map(|letter| match letter { '(' => 1, ')' => -1, _ => 0 }).sum();
            prop_assert!(depth == 0 || cut.contains('\''), "{}", cut);
            prop_assert!(definition.is_like(&parse(cut), &Mapping::default()));
        }
    }

    #[test]
    fn an_empty_mapping_changes_nothing(text in any_text(), sample in any_sample()) {
        prop_assert_eq!(Mapping::default().rewrite(&text), text);
        prop_assert_eq!(Mapping::default().rewrite(sample), sample);
        prop_assert_eq!(parse(sample).unresolved(&Mapping::default()), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_was_put_in_is_there(text in any_sample(), name in "[a-z_]{1,12}", number in any::<u32>()) {
        let definition = parse(text);
        let value = number.to_string();
        let with = definition.with_settings(&[(&name, &value)]);
        if with != definition {
            prop_assert_eq!(with.setting(&name), Some(value));
            prop_assert_eq!(&with.with_settings(&[(&name, "'x, y'")]).setting(&name), &Some("'x, y'".to_owned()));
            let without = with.without_settings(&[&name]);
            prop_assert_eq!(without.setting(&name), None);
            if definition.setting(&name).is_none() {
                prop_assert!(without.is_like(&definition, &Mapping::default()), "{}", without.tail);
            }
        }
    }
}
