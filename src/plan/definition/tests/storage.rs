use super::{parse, sample};
use crate::plan::{ParsedDefinition, StorageChoice};

#[test]
fn settings_of_the_storage_are_found_and_no_others() {
    for (name, setting, value) in [
        ("mt1", "index_granularity", Some("1024")),
        ("mt1", "storage_policy", Some("'cold'")),
        ("mt1", "x", None),
        ("mt8", "index_granularity", Some("8192")),
        ("ts2", "tags_to_columns", Some("{'a':'b'}")),
        ("ts2", "version", Some("4")),
        ("ts2", "index_granularity", None),
        ("rin2", "index_granularity", Some("1000")),
        ("rapp", "refresh_retries", None),
        ("v", "max_threads", None),
        ("mv2", "index_granularity", Some("8192")),
        ("key", "index_granularity", Some("8192")),
        ("weird", "index_granularity", Some("8192")),
        ("dic", "format_csv_allow_single_quotes", None),
        ("m10", "max_compress_block_size", None),
    ] {
        assert_eq!(sample(name).setting(setting).as_deref(), value, "{name} {setting}");
    }
}

#[test]
fn settings_are_put_where_the_server_reads_them() {
    for (name, before, behind) in [
        ("mt1", "storage_policy = 'cold'\nCOMMENT", "storage_policy = 'cold', a = 1\nCOMMENT"),
        ("rin2", "index_granularity = 1000\nDEFINER", "index_granularity = 1000, a = 1\nDEFINER"),
        ("mv2", "index_granularity = 8192 AS\nSELECT", "index_granularity = 8192, a = 1\nAS\nSELECT"),
        ("mem", "max_rows_to_keep = 10", "max_rows_to_keep = 10, a = 1"),
        ("log", "ENGINE = Log", "ENGINE = Log\nSETTINGS a = 1"),
        ("ts2", "recent_samples_ttl_seconds = 345600\nSAMPLES", "recent_samples_ttl_seconds = 345600, a = 1\nSAMPLES"),
    ] {
        let definition = sample(name);
        assert!(definition.tail.contains(before), "{name}");
        let with = definition.with_settings(&[("a", "1")]);
        assert_eq!(with.tail, definition.tail.replacen(before, behind, 1), "{name}");
    }
    let bare = parse("CREATE TABLE t (k UInt8, d Date) ENGINE = MergeTree ORDER BY k TTL d + 1 WHERE k COMMENT 'x'");
    let with = bare.with_settings(&[("a", "'x'"), ("b c", "2")]);
    assert_eq!(
        with.tail,
        "(k UInt8, d Date) ENGINE = MergeTree ORDER BY k TTL d + 1 WHERE k\nSETTINGS a = 'x', `b c` = 2\nCOMMENT 'x'"
    );
    let view = parse("CREATE MATERIALIZED VIEW v ENGINE = MergeTree ORDER BY k AS SELECT k FROM t SETTINGS a = 3");
    let with = view.with_settings(&[("a", "1")]);
    assert_eq!(with.tail, "ENGINE = MergeTree ORDER BY k\nSETTINGS a = 1\nAS SELECT k FROM t SETTINGS a = 3");
}

#[test]
fn settings_are_replaced_and_taken_away() {
    let table = sample("mt1");
    let with = table.with_settings(&[("index_granularity", "7"), ("a", "1")]);
    assert_eq!(with.setting("index_granularity").as_deref(), Some("7"));
    assert_eq!(with.setting("storage_policy").as_deref(), Some("'cold'"));
    assert_eq!(with.tail.matches("index_granularity").count(), 1);
    let without = with.without_settings(&["a", "index_granularity"]);
    assert_eq!((without.setting("a"), without.setting("index_granularity")), (None, None));
    assert!(without.tail.contains("\nSETTINGS storage_policy = 'cold'\nCOMMENT"), "{}", without.tail);
    let none = without.without_settings(&["storage_policy"]);
    assert!(none.tail.contains("CODEC(ZSTD(3))\nCOMMENT"), "{}", none.tail);
    assert_eq!(none.without_settings(&["storage_policy"]), none);
}

#[test]
fn definitions_that_take_no_settings_stay_as_they_are() {
    for name in ["mt5", "t", "mv", "inner", "v", "mvto", "dic", "mrgas", "rto"] {
        let definition = sample(name);
        assert_eq!(definition.with_settings(&[("a", "1")]), definition, "{name}");
        assert_eq!(definition.without_settings(&["a"]), definition, "{name}");
    }
}

#[test]
fn the_storage_is_a_policy_or_a_disk() {
    for (name, storage) in [
        ("mt1", StorageChoice::Policy("cold".to_owned())),
        ("mt2", StorageChoice::Default),
        ("mt7", StorageChoice::Disk("d2".to_owned())),
        ("mt8", StorageChoice::InlineDisk("disk(type = 'local', path = '/var/lib/clickhouse/d3/')".to_owned())),
        ("v", StorageChoice::Default),
        ("t", StorageChoice::Default),
    ] {
        assert_eq!(sample(name).storage(), storage, "{name}");
    }
}

#[test]
fn ttl_of_tables_and_columns_is_left_out_and_brought_back() {
    for (name, statements) in [
        (
            "mt1",
            vec![
                "ALTER TABLE a.b MODIFY COLUMN `v` TTL d + toIntervalYear(1)",
                "ALTER TABLE a.b MODIFY COLUMN `w` TTL d + toIntervalDay(3)",
                "ALTER TABLE a.b MODIFY TTL d + toIntervalYear(1) WHERE k > 1, d + toIntervalMonth(1) TO DISK 'd2', \
                 d + toIntervalMonth(5) TO VOLUME 'main', d + toIntervalMonth(2) RECOMPRESS CODEC(ZSTD(3))",
            ],
        ),
        (
            "mt2",
            vec!["ALTER TABLE a.b MODIFY TTL d + toIntervalMonth(1) GROUP BY k SET x = max(x), y = min(y), d = max(d)"],
        ),
        (
            "ttl3",
            vec![
                "ALTER TABLE a.b MODIFY COLUMN `S\\`TTL` TTL d + toIntervalDay(1)",
                "ALTER TABLE a.b MODIFY COLUMN `c` TTL d + toIntervalDay(2)",
            ],
        ),
        ("weird", vec!["ALTER TABLE a.b MODIFY TTL TTL + toIntervalDay(1)"]),
    ] {
        let table = sample(name);
        assert!(table.has_ttl(), "{name}");
        assert_eq!(table.ttl_statements("a.b"), statements, "{name}");
        let without = table.without_ttl();
        assert!(!without.has_ttl(), "{}", without.tail);
        assert_eq!(without.ttl_statements("a.b"), Vec::<String>::new());
        assert_eq!(without.storage(), table.storage());
        assert_eq!(without.setting("index_granularity"), table.setting("index_granularity"));
    }
    let tail = sample("mt1").without_ttl().tail;
    assert!(tail.contains("`v` String,\n") && tail.contains("SAMPLE BY k\nSETTINGS index"), "{tail}");
}

#[test]
fn a_ttl_ends_where_the_next_attribute_of_the_column_begins() {
    let table = parse(
        "CREATE TABLE t (k UInt8 TTL d + 1 COLLATE binary, d Date TTL d + if(k, 1, 2) SETTINGS (a = 1), \
         INDEX TTL k TYPE minmax, x UInt8 DEFAULT TTL, TTL Date) ENGINE = MergeTree ORDER BY k",
    );
    assert_eq!(
        table.ttl_statements("t"),
        ["ALTER TABLE t MODIFY COLUMN k TTL d + 1", "ALTER TABLE t MODIFY COLUMN d TTL d + if(k, 1, 2)"]
    );
    assert_eq!(
        table.without_ttl().tail.replace('\n', " "),
        "(k UInt8 COLLATE binary, d Date SETTINGS (a = 1), INDEX TTL k TYPE minmax, x UInt8 DEFAULT TTL, TTL Date) \
         ENGINE = MergeTree ORDER BY k"
    );
}

#[test]
fn definitions_without_ttl_stay_as_they_are() {
    for name in ["mvin", "m10", "v", "dic", "mt5", "ts2", "rin"] {
        let definition: ParsedDefinition = sample(name);
        assert!(!definition.has_ttl(), "{name}");
        assert_eq!(definition.without_ttl(), definition, "{name}");
    }
}
