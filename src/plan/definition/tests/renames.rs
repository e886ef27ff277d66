use super::{NEW, OLD, mapping, parse, sample};
use crate::model::TableName;
use crate::plan::{Mapping, ParsedDefinition, ReplicaArguments, Verb};

/// The database `l` renamed to `o`, as a whole, with some of its tables.
fn whole() -> Mapping {
    let tables = ["src", "dst", "dic2", "jn", "set", "mt3", "rin", "rto", "mrg"];
    let tables = tables.iter().map(|table| (TableName::new("l", *table), TableName::new("o", *table)));
    Mapping { tables: tables.collect(), databases: [("l".to_owned(), "o".to_owned())].into(), ..Mapping::default() }
}

#[test]
fn names_are_replaced_where_they_are_names_of_tables() {
    let mapping = mapping(&[("lab.t", "b.u")]);
    for (before, after) in [
        ("SELECT t.x, 'lab.t' FROM lab.t AS t", "SELECT t.x, 'lab.t' FROM `b`.`u` AS t"),
        ("TO `lab`.\"t\" (x)", "TO `b`.`u` (x)"),
        ("SELECT lab . t . x FROM other.lab.t", "SELECT `b` . `u` . x FROM other.lab.t"),
        ("d DEFAULT dictGet('lab.t', 'v', k)", "d DEFAULT dictGet('b.u', 'v', k)"),
        ("d DEFAULT dictGet(lab.t, 'v', k)", "d DEFAULT dictGet(`b`.`u`, 'v', k)"),
        ("SOURCE(CLICKHOUSE(DB 'lab' TABLE 't' USER 'x'))", "SOURCE(CLICKHOUSE(DB 'b' TABLE 'u' USER 'x'))"),
        ("SOURCE(CLICKHOUSE(TABLE t PORT 9000 DB lab))", "SOURCE(CLICKHOUSE(TABLE `u` PORT 9000 DB `b`))"),
        (
            "SOURCE(CLICKHOUSE(QUERY 'SELECT \\'it\\' FROM lab.t'))",
            "SOURCE(CLICKHOUSE(QUERY 'SELECT \\'it\\' FROM `b`.`u`'))",
        ),
        (
            "SOURCE(CLICKHOUSE(DB 'x' TABLE 'y' WHERE 'k IN (SELECT 1 FROM lab.t)'))",
            "SOURCE(CLICKHOUSE(DB 'x' TABLE 'y' WHERE 'k IN (SELECT 1 FROM `b`.`u`)'))",
        ),
        ("ENGINE = Buffer('lab', 't', 16)", "ENGINE = Buffer('b', 'u', 16)"),
        ("ENGINE = Buffer(lab, t, 16)", "ENGINE = Buffer(`b`, `u`, 16)"),
        ("ENGINE = Distributed('c', 'lab', 't')", "ENGINE = Distributed('c', 'b', 'u')"),
        ("ENGINE = Alias('lab', 't')", "ENGINE = Alias('b', 'u')"),
        ("ENGINE = Alias('lab.t')", "ENGINE = Alias('b.u')"),
        ("ENGINE = Alias(lab.t)", "ENGINE = Alias(`b`.`u`)"),
        ("ENGINE = Dictionary('lab.t')", "ENGINE = Dictionary('b.u')"),
        ("ENGINE = Dictionary(lab.t)", "ENGINE = Dictionary(`b`.`u`)"),
        ("FROM dictionary('lab.t')", "FROM dictionary('b.u')"),
        ("hasColumnInTable('lab', 't', 'c')", "hasColumnInTable('b', 'u', 'c')"),
        ("joinGetOrNull('lab.t', 'v', 1)", "joinGetOrNull('b.u', 'v', 1)"),
        ("k IN lab.t AND k IN (lab.t)", "k IN `b`.`u` AND k IN (`b`.`u`)"),
        ("REFRESH EVERY 1 DAY DEPENDS ON lab.t, x.y", "REFRESH EVERY 1 DAY DEPENDS ON `b`.`u`, x.y"),
        ("x IN ('lab', 't')", "x IN ('lab', 't')"),
        ("-- lab.t\n/* lab.t */ lab.tt", "-- lab.t\n/* lab.t */ lab.tt"),
        ("remote('h', lab.t), remote('h', 'lab', 't')", "remote('h', lab.t), remote('h', 'lab', 't')"),
        (
            "cluster('c', lab.t), hasColumnInTable('h', 'lab', 't', 'c')",
            "cluster('c', lab.t), hasColumnInTable('h', 'lab', 't', 'c')",
        ),
        ("SOURCE(MYSQL(DB 'lab' TABLE 't'))", "SOURCE(MYSQL(DB 'lab' TABLE 't'))"),
        ("SOURCE(CLICKHOUSE(HOST 'far' DB 'lab' TABLE 't'))", "SOURCE(CLICKHOUSE(HOST 'far' DB 'lab' TABLE 't'))"),
        ("merge('lab', '^t$')", "merge('lab', '^t$')"),
    ] {
        assert_eq!(mapping.rewrite(before), after);
    }
}

#[test]
fn a_renamed_database_is_replaced_in_all_that_names_it() {
    for (name, replaced, by) in [
        ("mrg", "Merge('l', ", "Merge('o', "),
        ("mrgas", "merge('l', ", "merge('o', "),
        ("vr3", "merge(l, ", "merge(`o`, "),
        ("dict", "Dictionary('l.dic2')", "Dictionary('o.dic2')"),
        ("vdict", "dictionary('l.dic2')", "dictionary('o.dic2')"),
        ("vdict2", "dictionary(l.dic2)", "dictionary(`o`.`dic2`)"),
        ("dic", "DB 'l' TABLE 'src'", "DB 'o' TABLE 'src'"),
        ("dic2", "FROM l.src WHERE v = \\'a\\'", "FROM `o`.`src` WHERE v = \\'a\\'"),
        ("dic4", "DB l TABLE src", "DB `o` TABLE `src`"),
        ("buf", "Buffer('l', ", "Buffer('o', "),
        ("ali", "Alias('l', ", "Alias('o', "),
        ("mvto", " TO l.dst", " TO `o`.`dst`"),
        ("rin2", "DEPENDS ON l.rin, l.rto", "DEPENDS ON `o`.`rin`, `o`.`rto`"),
    ] {
        let definition = sample(name);
        let statement = |mapping: &Mapping| definition.statement(Verb::Attach, "x", (None, None), mapping);
        let before = statement(&Mapping::default());
        assert!(before.contains(replaced), "{before}");
        let after = statement(&whole());
        assert!(after.contains(by) && !after.contains(replaced), "{after}");
        assert_eq!(definition.unresolved(&whole()), Vec::<String>::new(), "{name}");
    }
    let all = sample("vin").statement(Verb::Attach, "x", (None, None), &whole());
    for part in [
        "k IN (`o`.`set`)",
        "hasColumnInTable('o', 'src', 'k')",
        "joinGet('o.jn', ",
        "joinGet(`o`.`jn`, ",
        "merge('o', ",
    ] {
        assert!(all.contains(part), "{all}");
    }
}

#[test]
fn old_names_that_stay_are_listed() {
    let one = mapping(&[("lab.t", "b.u")]);
    let database = Mapping { databases: [("lab".to_owned(), "b".to_owned())].into(), ..one.clone() };
    for (text, with_one, with_database) in [
        ("FROM remote('h', lab.t)", vec!["lab.t"], vec!["lab.t"]),
        ("FROM remote('h', 'lab', 't')", vec!["lab.t"], vec!["lab.t"]),
        ("FROM remote('h', lab, t)", vec![], vec!["lab"]),
        ("FROM cluster('c', lab.other)", vec![], vec!["lab.other"]),
        ("SELECT lab.gone.x, `lab`.y", vec![], vec!["lab.gone", "lab.y"]),
        ("FROM url('http://x/?query=SELECT+1+FROM+lab.t')", vec!["lab.t"], vec!["lab"]),
        ("SELECT 'lab'", vec![], vec!["lab"]),
        ("SELECT 'from lab.q'", vec![], vec!["lab"]),
        ("merge('lab', '^t$')", vec!["lab"], vec![]),
        ("merge(REGEXP('^lab$'), '^t$')", vec![], vec!["lab"]),
        ("SOURCE(MYSQL(DB 'lab' TABLE 't'))", vec!["lab.t"], vec!["lab.t"]),
        ("SOURCE(CLICKHOUSE(HOST 'far' QUERY 'SELECT 1 FROM lab.t'))", vec!["lab.t"], vec!["lab"]),
        ("SOURCE(CLICKHOUSE(QUERY 'SELECT 1 FROM remote(\\'h\\', lab.t)'))", vec!["lab.t"], vec!["lab.t"]),
        ("SELECT lab, `lab` AS x FROM q WHERE lab = 'lab x' AND e = 'a lab' AND lab(1)", vec![], vec![]),
        ("SELECT other.lab, 'alab.t', 'lab2.t', q.lab.t FROM lab.t", vec![], vec![]),
    ] {
        let definition = parse(&format!("CREATE VIEW v AS SELECT 1 {text}"));
        assert_eq!(definition.unresolved(&one), with_one, "{text}");
        assert_eq!(definition.unresolved(&database), with_database, "{text}");
    }
}

#[test]
fn definitions_that_name_the_database_of_the_session_are_known() {
    for (text, is_so) in [
        ("CREATE TABLE lab.m (k UInt8) ENGINE = Merge(currentDatabase(), '^t$')", true),
        ("CREATE TABLE lab.m (k UInt8) ENGINE = Buffer(database(), 't', 1, 1, 1, 1, 1, 1, 1)", true),
        ("CREATE TABLE lab.m (k UInt8) ENGINE = Distributed('c', currentDatabase(), 't', rand())", true),
        ("CREATE VIEW lab.v AS SELECT k FROM merge(currentDatabase ( ), '^t$')", true),
        ("CREATE VIEW lab.v AS SELECT k FROM merge('lab', '^currentDatabase()$')", false),
        (
            "CREATE VIEW lab.v AS SELECT currentDatabase() AS d FROM system.tables WHERE database = currentDatabase()",
            false,
        ),
        ("CREATE TABLE lab.m (k UInt8) ENGINE = Merge('lab', '^t$') COMMENT 'Merge(currentDatabase(), x)'", false),
    ] {
        assert_eq!(parse(text).names_session_database(), is_so, "{text}");
    }
}

#[test]
fn databases_that_change_places_leave_no_old_name() {
    let swapped = Mapping {
        tables: [("a", "b"), ("b", "a")].map(|(from, to)| (TableName::new(from, "t"), TableName::new(to, "t"))).into(),
        databases: [("a", "b"), ("b", "a")].map(|(from, to)| (from.to_owned(), to.to_owned())).into(),
        ..Mapping::default()
    };
    let view = parse("CREATE VIEW v AS SELECT * FROM a.t, b.t, merge('a', 'x')");
    let statement = view.statement(Verb::Create, "v", (None, None), &swapped);
    assert_eq!(statement, "CREATE VIEW v AS SELECT * FROM `b`.`t`, `a`.`t`, merge('b', 'x')");
    assert_eq!(view.unresolved(&swapped), Vec::<String>::new());
}

#[test]
fn replicated_engines_keep_their_path_or_lose_it() {
    let table = |engine: &str| parse(&format!("ATTACH TABLE _ (x UInt8) ENGINE = {engine} ORDER BY k"));
    let sql = |definition: &ParsedDefinition| definition.statement(Verb::Create, "t", (None, None), &mapping(&[]));
    let is = |definition: &ParsedDefinition, engine: &str| {
        assert_eq!(sql(definition), format!("CREATE TABLE t (x UInt8) ENGINE = {engine} ORDER BY k"));
    };
    let engine = format!("ReplicatedReplacingMergeTree('/t/{OLD}/{{shard}}', '{{replica}}', v)");
    is(&table(&engine), &engine.replace(OLD, NEW));
    is(&table(&engine).as_plain(), "ReplacingMergeTree(v)");
    is(&table(&engine).without_replica(), "ReplicatedReplacingMergeTree(v)");
    let arguments = |path: &str, replica: &str| ReplicaArguments { path: path.to_owned(), replica: replica.to_owned() };
    assert_eq!(table(&engine).replica(), Some(arguments(&format!("/t/{OLD}/{{shard}}"), "{replica}")));
    let other = arguments("/it's/{uuid}", "r");
    is(&table(&engine).with_replica(&other), "ReplicatedReplacingMergeTree('/it\\'s/{uuid}', 'r', v)");
    for plain in ["ReplicatedMergeTree('/a', 'b')", "ReplicatedMergeTree()", "ReplicatedMergeTree"] {
        let table = table(plain);
        is(&table.as_plain(), "MergeTree");
        is(&table.with_replica(&other), "ReplicatedMergeTree('/it\\'s/{uuid}', 'r')");
        assert!(table.is_replicated());
        assert_eq!(table.replica().is_some(), plain.contains("'/a'"));
    }
    is(&table("ReplicatedMergeTree('/a', 'b', d, (k), 8192)").as_plain(), "MergeTree(d, (k), 8192)");
    let column = parse("ATTACH TABLE _ (ReplicatedMergeTree UInt8) ENGINE = Log");
    assert_eq!((column.as_plain(), column.is_replicated()), (column.clone(), false));
}
