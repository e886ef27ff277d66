use super::samples::{V18, V26};
use super::{NEW, OLD, mapping, parse, sample, uuid};
use crate::plan::{DefinitionError, DefinitionKind, Mapping, ParsedDefinition, Verb};

#[test]
fn heads_of_all_kinds_and_ages_are_read() {
    for (text, kind, tail) in [
        (
            "ATTACH TABLE t\n(\n    d Date\n)\nENGINE = MergeTree",
            DefinitionKind::Table,
            "(\n    d Date\n)\nENGINE = MergeTree",
        ),
        ("ATTACH TABLE `.inner.mv`\n(\n v String)", DefinitionKind::Table, "(\n v String)"),
        (
            "CREATE DICTIONARY _ UUID 'f881ab48-8e9e-4481-9367-dfdc03216dcb'\n(\n`k` UInt64)",
            DefinitionKind::Dictionary,
            "(\n`k` UInt64)",
        ),
        ("ATTACH MATERIALIZED VIEW mvto TO lab.tgt\n(\n v String)", DefinitionKind::MaterializedView, "(\n v String)"),
        ("CREATE VIEW lab.`v.w` (`n` UInt64) AS SELECT 1", DefinitionKind::View, "(`n` UInt64) AS SELECT 1"),
        (
            "ATTACH DATABASE _ UUID 'f881ab48-8e9e-4481-9367-dfdc03216dcb'\nENGINE = Atomic\n",
            DefinitionKind::Database,
            "ENGINE = Atomic",
        ),
        ("ATTACH DATABASE dm\nENGINE = Memory\nCOMMENT 'c'", DefinitionKind::Database, "ENGINE = Memory\nCOMMENT 'c'"),
        (
            "CREATE TABLE IF NOT EXISTS a.b ON CLUSTER '{c}' (x UInt8) ENGINE = Log;",
            DefinitionKind::Table,
            "(x UInt8) ENGINE = Log",
        ),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", DefinitionKind::View, "AS SELECT 1"),
        ("CREATE LIVE VIEW v WITH TIMEOUT 5 AS SELECT 1", DefinitionKind::OtherView, "AS SELECT 1"),
    ] {
        let definition = parse(text);
        assert_eq!((definition.kind, definition.tail.as_str()), (kind, tail), "{text}");
        assert_eq!(definition.uuid.is_some(), text.contains("UUID"), "{text}");
    }
}

#[test]
fn texts_that_are_no_definition_are_refused_without_a_word_of_them() {
    for text in [
        "",
        "SELECT 1",
        "ATTACH",
        "ATTACH TABLE",
        "ATTACH TABLE (x)",
        "DROP TABLE x",
        "ATTACH TABLE t",
        "CREATE VIEW v",
        "ATTACH TABLE x FROM '/secret/'",
        "CREATE TABLE t (x UInt8) ENGINE = Log; DROP TABLE secret",
        "CREATE TABLE t (x String DEFAULT 'secret) ENGINE = Log",
        "CREATE TABLE t (x UInt8 ENGINE = secret",
        "CREATE TABLE t (x UInt8)) ENGINE = secret",
        "CREATE TABLE t (x UInt8) ENGINE = Log /* secret",
        "CREATE TABLE t\0(x secret)",
        "ATTACH TABLE _ UUID secret (x UInt8)",
        "ATTACH TABLE _ UUID 'secret' (x UInt8)",
        "CREATE MATERIALIZED VIEW v REFRESH secret AS SELECT 1",
        "CREATE USER secret",
    ] {
        let error = ParsedDefinition::parse(text).expect_err(text);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let two = ParsedDefinition::parse("CREATE VIEW v AS SELECT 1; SELECT 2");
    assert_eq!(two, Err(DefinitionError::SecondStatement));
}

#[test]
fn a_statement_has_the_new_name_and_the_new_uuids() {
    let text =
        format!("ATTACH MATERIALIZED VIEW _ UUID '{OLD}' TO INNER UUID '{OLD}' (v String) AS SELECT v FROM lab.t");
    let definition = parse(&text);
    let mapping = mapping(&[("lab.t", "b.it's")]);
    let new = uuid(NEW);
    assert_eq!(
        definition.statement(Verb::Attach, "`b`.`mv`", (Some(&new), Some(&new)), &mapping),
        format!(
            "ATTACH MATERIALIZED VIEW `b`.`mv` UUID '{NEW}' TO INNER UUID '{NEW}' (v String) AS SELECT v FROM `b`.`it's`"
        )
    );
    let create = definition.statement(Verb::Create, "x", (None, None), &mapping);
    assert!(create.starts_with("CREATE MATERIALIZED VIEW x (v"), "{create}");
}

#[test]
fn a_refresh_schedule_is_between_the_uuid_and_the_target() {
    let view = sample("rin2");
    assert!(view.is_refreshable() && !view.has_target() && view.inner_uuid.is_some());
    let statement = view.statement(Verb::Attach, "x.y", (Some(&uuid(OLD)), Some(&uuid(NEW))), &Mapping::default());
    assert!(
        statement.starts_with(&format!(
            "ATTACH MATERIALIZED VIEW x.y UUID '{OLD}' REFRESH EVERY 1 DAY DEPENDS ON l.rin, l.rto APPEND \
             TO INNER UUID '{NEW}' (\n    `k` UInt64"
        )),
        "{statement}"
    );
    let target = |name: &str| sample(name).target();
    let of = |database: &str, table: &str| Some((Some(database.to_owned()), table.to_owned()));
    assert_eq!(target("rapp"), of("l", "dst"));
    assert_eq!(target("rto"), of("l", "dst"));
    assert_eq!(target("mvto"), of("l", "dst"));
    assert_eq!(parse("CREATE MATERIALIZED VIEW a TO `it``s` AS SELECT 1").target(), Some((None, "it`s".to_owned())));
    for name in ["rin", "mvin", "v", "mt1", "ts2"] {
        assert_eq!((target(name), sample(name).has_target()), (None, false), "{name}");
    }
    let refreshable: Vec<&str> =
        V26.iter().filter(|(_, text)| parse(text).is_refreshable()).map(|(name, _)| *name).collect();
    assert_eq!(refreshable, ["rto", "rapp", "rin", "rin2", "rto3"]);
}

#[test]
fn a_definer_may_precede_the_target_of_a_view() {
    let text = "ATTACH MATERIALIZED VIEW v REFRESH AFTER 1 HOUR 30 MINUTES DEFINER = u@`h` SQL SECURITY DEFINER TO a.b AS SELECT 1";
    let view = parse(text);
    assert_eq!(view.target(), Some((Some("a".to_owned()), "b".to_owned())));
    assert_eq!(view.statement(Verb::Attach, "v", (None, None), &Mapping::default()), text);
}

#[test]
fn a_refreshable_view_can_start_empty() {
    for (name, before, behind) in [
        (
            "rin2",
            "DEFINER = default SQL SECURITY DEFINER\nAS SELECT\n    k",
            "DEFINER = default SQL SECURITY DEFINER\nEMPTY AS SELECT\n    k",
        ),
        ("rto", "DEFINER\nAS SELECT *", "DEFINER\nEMPTY AS SELECT *"),
    ] {
        let view = sample(name);
        let with_empty = view.starting_empty();
        assert_eq!(with_empty.tail, view.tail.replace(before, behind), "{name}");
        assert_ne!(with_empty, view);
        assert_eq!(with_empty.starting_empty(), with_empty);
    }
    for name in ["mvin", "mvto", "v", "mt1"] {
        assert_eq!(sample(name).starting_empty(), sample(name), "{name}");
    }
}

#[test]
fn engines_are_those_of_the_outer_table() {
    let engine = |name: &str| sample(name).engine();
    for (name, expected) in [
        ("nul", "Null"),
        ("n", "Null"),
        ("mt1", "MergeTree"),
        ("ts2", "TimeSeries"),
        ("mvin2", "SummingMergeTree"),
        ("mv", "MergeTree"),
        ("url", "URL"),
        ("weird", "MergeTree"),
    ] {
        assert_eq!(engine(name).as_deref(), Some(expected), "{name}");
    }
    for name in ["v", "mvto", "mrgas", "dic"] {
        assert_eq!(engine(name), None, "{name}");
    }
}

#[test]
fn statements_leave_definitions_of_all_kinds_as_they_are() {
    for (name, text) in V26.iter().chain(V18) {
        let definition = parse(text);
        let uuids = (definition.uuid.as_ref(), definition.inner_uuid.as_ref());
        let statement = definition.statement(Verb::Attach, "_", uuids, &Mapping::default());
        assert_eq!(parse(&statement), definition, "{name}");
        let words = |text: &str| text.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
        if text.contains("_ UUID") {
            assert_eq!(words(&statement), words(text), "{name}");
        }
    }
}

#[test]
fn a_dictionary_is_created_even_where_others_are_attached() {
    let statement = sample("dic2").statement(Verb::Attach, "x", (Some(&uuid(NEW)), None), &Mapping::default());
    assert!(statement.starts_with(&format!("CREATE DICTIONARY x UUID '{NEW}' (")), "{statement}");
}

#[test]
fn create_leaves_out_what_it_refuses() {
    let alias = sample("ali").statement(Verb::Create, "x", (None, None), &Mapping::default());
    assert_eq!(alias, "CREATE TABLE x ENGINE = Alias('l', 'src')");
    let series = sample("ts2");
    assert_eq!(series.inner_uuids().len(), 4);
    let statement = series.statement(Verb::Create, "x", (None, None), &Mapping::default());
    assert!(!statement.contains("INNER UUID") && statement.contains("RECENT SAMPLES INNER COLUMNS"), "{statement}");
    let mapping =
        Mapping { uuids: series.inner_uuids().into_iter().map(|old| (old, uuid(NEW))).collect(), ..Mapping::default() };
    let statement = series.statement(Verb::Create, "x", (None, None), &mapping);
    assert_eq!(statement.matches(&format!("INNER UUID '{NEW}'")).count(), 4, "{statement}");
}

#[test]
fn definitions_are_alike_on_one_line_or_on_many() {
    let a = parse("ATTACH VIEW v\n(\n    n UInt64\n) AS\nSELECT 1 FROM lab.t ");
    let b = parse("CREATE VIEW x.y (n UInt64) AS SELECT 1 FROM b.u");
    assert!(!a.is_like(&b, &mapping(&[])));
    assert!(a.is_like(&b, &mapping(&[("lab.t", "b.u")])));
    assert!(a.is_like(&parse("CREATE VIEW q (n UInt64) AS SELECT 1 FROM lab.t"), &mapping(&[])));
}

#[test]
fn only_definitions_that_no_server_stores_run_a_query() {
    for (text, runs) in [
        ("CREATE TABLE t (k UInt64) ENGINE = Log AS SELECT 1 AS k", true),
        ("CREATE TABLE t (k UInt64) ENGINE = Log AS WITH 1 AS k SELECT k", true),
        ("CREATE TABLE t ENGINE = Log AS (SELECT 1 AS k)", true),
        ("CREATE MATERIALIZED VIEW v (k UInt64) ENGINE = Log POPULATE AS SELECT 1 AS k", true),
        ("ATTACH TABLE t (`number` UInt64) AS numbers(10)", false),
        ("ATTACH MATERIALIZED VIEW v (k UInt64) ENGINE = Log AS SELECT 1 AS k", false),
        ("ATTACH VIEW v (k UInt64) AS SELECT 1 AS k", false),
        ("ATTACH TABLE t (k UInt64 DEFAULT CAST(1 AS UInt8)) ENGINE = Log", false),
    ] {
        assert_eq!(parse(text).runs_query(), runs, "{text}");
    }
    for (name, text) in V26.iter().chain(V18) {
        assert!(!parse(text).runs_query(), "{name}");
    }
}

#[test]
fn definitions_are_alike_as_servers_of_all_versions_print_them() {
    let alike = |one: &str, other: &str| parse(one).is_like(&parse(other), &mapping(&[]));
    for (one, other) in [
        ("ENGINE = Buffer(lab, v, 1, 10, 100)", "ENGINE = Buffer('lab', 'v', 1, 10, 100)"),
        ("ENGINE = Merge(lab, '^v$')", "ENGINE = Merge('lab', '^v$')"),
        ("ENGINE = MergeTree(`d`, (k, d), 8192)", "ENGINE = MergeTree(d, (k, d), 8192)"),
    ] {
        let [one, other] = [one, other].map(|engine| format!("ATTACH TABLE t (x UInt8) {engine}"));
        assert!(alike(&one, &other) && alike(&other, &one), "{one}");
    }
    let view = |column: &str| format!("ATTACH VIEW v (n UInt8) AS SELECT f({column}) FROM t");
    assert!(!alike(&view("a"), &view("'a'")), "outside an engine a name is no text");
    let merge = |database: &str| format!("ATTACH TABLE t (x UInt8) ENGINE = Merge({database}, '^v$')");
    assert!(!alike(&merge("lab"), &merge("'other'")));
    let series = V26.iter().find(|(name, _)| *name == "ts2").expect("a sample").1;
    let stored = parse(series);
    let mut printed = series.to_owned();
    for uuid in stored.inner_uuids() {
        let at = printed.find(uuid.as_str()).expect("it is there");
        let begin = printed[..at].rfind('\n').expect("a line");
        printed.replace_range(begin..=at + uuid.as_str().len(), "");
    }
    assert!(!printed.contains("INNER UUID"), "{printed}");
    assert!(stored.is_like(&parse(&printed), &mapping(&[])));
}
