//! Definitions from the files of real servers.

/// Files below `metadata/` of ClickHouse 26.9.
pub(super) const V26: &[(&str, &str)] = &[
    (
        "mt1",
        r"ATTACH TABLE _ UUID 'cc1aadc6-9af0-428d-af16-d45271d3638e'
(
    `k` UInt64 COMMENT 'it\'s',
    `d` Date DEFAULT today() CODEC(ZSTD(1)),
    `v` String TTL d + toIntervalYear(1),
    `w` Nullable(String) MATERIALIZED concat(v, '; AS SELECT') TTL d + toIntervalDay(3),
    `a` UInt8 ALIAS k + 1,
    INDEX i v TYPE bloom_filter GRANULARITY 1,
    CONSTRAINT c CHECK k > 0,
    PROJECTION p
    (
        SELECT
            d,
            count()
        GROUP BY d
    )
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(d)
PRIMARY KEY k
ORDER BY (k, d)
SAMPLE BY k
TTL d + toIntervalYear(1) WHERE k > 1, d + toIntervalMonth(1) TO DISK 'd2', d + toIntervalMonth(5) TO VOLUME 'main', d + toIntervalMonth(2) RECOMPRESS CODEC(ZSTD(3))
SETTINGS index_granularity = 1024, storage_policy = 'cold'
COMMENT 'a; comment SETTINGS x = 1'",
    ),
    (
        "mt2",
        r"ATTACH TABLE _ UUID '2c0babda-8ae8-4c57-b3ba-729cb5bd730c'
(
    `k` UInt64,
    `d` Date,
    `x` UInt32,
    `y` UInt32
)
ENGINE = MergeTree
ORDER BY (k, d)
TTL d + toIntervalMonth(1) GROUP BY k SET x = max(x), y = min(y), d = max(d)
SETTINGS index_granularity = 8192",
    ),
    (
        "mt5",
        r"ATTACH TABLE _ UUID 'f71bb778-5561-43ea-837f-8ac0aa21ae6b'
(
    `d` Date,
    `k` UInt64
)
ENGINE = MergeTree(d, k, 8192)",
    ),
    (
        "mt7",
        r"ATTACH TABLE _ UUID '8a19c4a2-5bb1-485a-945f-81538932ebc0'
(
    `k` UInt64,
    `sign` Int8,
    `v` UInt8
)
ENGINE = VersionedCollapsingMergeTree(sign, v)
ORDER BY k
SETTINGS disk = 'd2', index_granularity = 8192",
    ),
    (
        "mt8",
        r"ATTACH TABLE _ UUID '9ea623cd-ff0a-4440-85f2-655ddac6d72b'
(
    `k` UInt64
)
ENGINE = MergeTree
ORDER BY k
SETTINGS disk = disk(type = 'local', path = '/var/lib/clickhouse/d3/'), index_granularity = 8192",
    ),
    (
        "m10",
        r"ATTACH TABLE _ UUID '5cdf8241-6fef-46c7-8e4e-0b7d6285aff6'
(
    `k` UInt64 STATISTICS(tdigest),
    `j` JSON(a UInt8,     SKIP b),
    `e` Enum8('a' = 1, 'b;' = 2),
    `t` Tuple(a UInt8, b String),
    `n.x` Array(UInt8),
    `n.y` Array(String),
    `m` Map(String, Array(UInt8)),
    `dt` DateTime64(3, 'UTC'),
    `v` Variant(String, UInt8),
    `dyn` Dynamic,
    `fs` FixedString(3),
    `dd` Decimal(10, 2) DEFAULT -1.5,
    `ep` UInt8 EPHEMERAL,
    `s` String SETTINGS (max_compress_block_size = 1024)
)
ENGINE = MergeTree
PARTITION BY tuple()
ORDER BY k
SETTINGS index_granularity = 8192",
    ),
    (
        "ttl2",
        r"ATTACH TABLE _ UUID '51d27f82-f2f0-4693-a91d-ccc1536f3d9f'
(
    `d` DateTime,
    `k` UInt64
)
ENGINE = MergeTree
ORDER BY k
TTL d + toIntervalDay(1), d + toIntervalHour(1) WHERE k = 1, if(k > 1, d, d + 1) + toIntervalDay(3) WHERE k < 1
SETTINGS merge_with_ttl_timeout = 100, index_granularity = 8192",
    ),
    (
        "ttl3",
        r"ATTACH TABLE _ UUID '1b9f6929-bf7d-4177-8a05-aebf67399316'
(
    `d` DateTime,
    `k` UInt64,
    `S\`TTL` String DEFAULT 'TTL x' CODEC(LZ4) TTL d + toIntervalDay(1),
    `c` String COMMENT 'TTL y' TTL d + toIntervalDay(2)
)
ENGINE = MergeTree
ORDER BY k
SETTINGS index_granularity = 8192",
    ),
    (
        "weird",
        r"ATTACH TABLE _ UUID '4d4d5198-e7c7-4712-ac86-32231e1d2a03'
(
    `SETTINGS` UInt8,
    `TTL` Date,
    `AS` UInt8
)
ENGINE = MergeTree
ORDER BY (SETTINGS, TTL)
TTL TTL + toIntervalDay(1)
SETTINGS index_granularity = 8192",
    ),
    (
        "nul",
        r"ATTACH TABLE _ UUID 'a55a04bf-66e3-45ea-bcbc-1ad1893942dd'
(
    `k` UInt64
)
ENGINE = `Null`",
    ),
    (
        "buf",
        r"ATTACH TABLE _ UUID '942b5ea8-2c97-4ca8-a8c4-f45f4775b928'
(
    `k` UInt64,
    `d` Date,
    `v` String
)
ENGINE = Buffer('l', 'src', 16, 10, 100, 10000, 1000000, 10000000, 100000000)",
    ),
    (
        "mrg",
        r"ATTACH TABLE _ UUID '69e95415-2922-4958-93dd-0323cff86b39'
(
    `k` UInt64
)
ENGINE = Merge('l', '^src$')",
    ),
    (
        "mrgas",
        r"ATTACH TABLE _ UUID 'a9885a3d-1b74-4959-ad74-f825f0d234c2'
(
    `k` UInt64,
    `d` Date,
    `v` String
) AS merge('l', '^src$')",
    ),
    (
        "ali",
        r"ATTACH TABLE _ UUID 'b139b0ca-220a-457a-84f5-198d91608b36'
(
    `k` UInt64,
    `d` Date,
    `v` String
)
ENGINE = Alias('l', 'src')",
    ),
    (
        "kaf2",
        r"ATTACH TABLE _ UUID '53a46077-4b45-4d7d-87b9-db5e291bb084'
(
    `k` UInt64
)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'localhost:1', kafka_topic_list = 't', kafka_group_name = 'g', kafka_format = 'CSV', kafka_sasl_password = 'kpw'",
    ),
    (
        "mem",
        r"ATTACH TABLE _ UUID '0019f0a5-6fd9-4bff-b5d7-12247626aa04'
(
    `k` UInt64
)
ENGINE = Memory
SETTINGS min_rows_to_keep = 1, max_rows_to_keep = 10",
    ),
    (
        "dic",
        r"CREATE DICTIONARY _ UUID '306740dc-f1c1-4465-aecd-534b33ea0d2e'
(
    `k` UInt64,
    `v` String DEFAULT 'x' EXPRESSION upper('a')
)
PRIMARY KEY k
SOURCE(CLICKHOUSE(USER 'default' PASSWORD 'dpw' DB 'l' TABLE 'src' WHERE 'k > 1'))
LIFETIME(MIN 0 MAX 100)
LAYOUT(HASHED())
SETTINGS(format_csv_allow_single_quotes = 1)
COMMENT 'dict'",
    ),
    (
        "dic2",
        r"CREATE DICTIONARY _ UUID 'b899e0cb-603d-4de2-9938-e0a08d381f3f'
(
    `k` UInt64,
    `v` String
)
PRIMARY KEY k
SOURCE(CLICKHOUSE(QUERY 'SELECT k, v FROM l.src WHERE v = \'a\''))
LIFETIME(MIN 0 MAX 0)
LAYOUT(FLAT())",
    ),
    (
        "dic3",
        r"CREATE DICTIONARY _ UUID '6aaa8dd9-8746-4855-a241-9e4c8e6ae692'
(
    `k` UInt64,
    `v` String
)
PRIMARY KEY k
SOURCE(HTTP(URL 'http://u:pw@localhost:1/x' FORMAT 'CSV' CREDENTIALS (USER 'u' PASSWORD 'hpw') HEADERS (HEADER (NAME 'API-KEY' VALUE 'hkey'))))
LIFETIME(MIN 1 MAX 2)
LAYOUT(FLAT())",
    ),
    (
        "dic4",
        r"CREATE DICTIONARY _ UUID '9672c9a7-be93-427e-9583-eb132ac784d0'
(
    `k` UInt64,
    `v` String
)
PRIMARY KEY k
SOURCE(CLICKHOUSE(DB l TABLE src))
LIFETIME(MIN 0 MAX 0)
LAYOUT(FLAT())",
    ),
    (
        "dict",
        r"ATTACH TABLE _ UUID 'c3b36573-afd7-4a13-a3ff-5ded9053f0fa'
(
    `k` UInt64,
    `v` String
)
ENGINE = Dictionary('l.dic2')",
    ),
    (
        "dictuse",
        r"ATTACH TABLE _ UUID '2ab4aec0-aa50-4d3a-805c-4d5515a8aefd'
(
    `k` UInt64,
    `v` String DEFAULT dictGet('l.dic2', 'v', k),
    `w` String DEFAULT dictGetOrDefault(l.dic2, 'v', k, '')
)
ENGINE = MergeTree
ORDER BY k
SETTINGS index_granularity = 8192",
    ),
    (
        "v",
        r"ATTACH VIEW _ UUID '6df4546d-4801-4a05-9b82-e51e6c8c1340'
(
    `k` UInt64,
    `v` String
)
AS SELECT
    k,
    v
FROM l.src
WHERE d > '2020-01-01'
SETTINGS max_threads = 1",
    ),
    (
        "vc",
        r"ATTACH VIEW _ UUID '8052d545-f99c-44aa-bdee-de7f0ea2e969'
(
    `a` UInt64,
    `b` String
)
COMMENT 'view comment'
AS SELECT
    k AS a,
    v AS b
FROM l.src
UNION ALL
SELECT
    1,
    ';'",
    ),
    (
        "vd",
        r"ATTACH VIEW _ UUID '801878b0-d40a-41b5-95f9-175ab7d9d35f'
(
    `x` UInt8
)
DEFINER = default SQL SECURITY DEFINER
AS SELECT 1 AS x",
    ),
    (
        "vi",
        r"ATTACH VIEW _ UUID 'f81457e4-b1ba-405a-9318-a62f37354cf6'
(
    `q` Nullable(UInt8),
    `in(k, _subquery_2)` UInt8
)
SQL SECURITY INVOKER
AS WITH
    (
        SELECT 1
    ) AS q
SELECT
    q,
    k IN (
        SELECT k
        FROM l.src
    )
FROM l.mrg",
    ),
    (
        "vin",
        r"ATTACH VIEW _ UUID '39e5d0c8-78a1-43e7-a882-53a3e0a5ba9d'
(
    `x` UInt8,
    `y` UInt8,
    `z` String,
    `zz` String
)
AS SELECT
    k IN (l.set) AS x,
    hasColumnInTable('l', 'src', 'k') AS y,
    joinGet('l.jn', 'v', toUInt64(1)) AS z,
    joinGet(l.jn, 'v', toUInt64(1)) AS zz
FROM merge('l', '^src$')",
    ),
    (
        "vp",
        r"ATTACH VIEW _ UUID '0c484098-fbae-4e13-b854-444e14625e4e'
AS SELECT *
FROM l.src
WHERE k = {x:UInt64}",
    ),
    (
        "vr",
        r"ATTACH VIEW _ UUID '33ccba38-6059-47ae-9e49-5a9b0ce03f27'
(
    `k` UInt64,
    `d` Date,
    `v` String
)
AS SELECT *
FROM remote('127.0.0.1', 'l', 'src')",
    ),
    (
        "vr3",
        r"ATTACH VIEW _ UUID '9344791f-d891-4653-86b1-15bcc4d0d887'
(
    `k` UInt64,
    `d` Date,
    `v` String
)
AS SELECT *
FROM merge(l, '^src$')",
    ),
    (
        "vdict",
        r"ATTACH VIEW _ UUID '499e4888-8b7d-4308-8bf5-7bcc723e9e71'
(
    `k` UInt64,
    `v` String
)
AS SELECT *
FROM dictionary('l.dic2')",
    ),
    (
        "vdict2",
        r"ATTACH VIEW _ UUID '6c8adff3-b044-44ad-a393-8a31f2f60b5e'
(
    `k` UInt64,
    `v` String
)
AS SELECT *
FROM dictionary(l.dic2)",
    ),
    (
        "mvto",
        r"ATTACH MATERIALIZED VIEW _ UUID '72f28944-93e8-4d55-a324-31185b5755e2' TO l.dst
(
    `k` UInt64,
    `d` Date,
    `v` String
)
AS SELECT *
FROM l.src",
    ),
    (
        "mvin",
        r"ATTACH MATERIALIZED VIEW _ UUID '63aa7bef-3f83-458c-895c-10948a836a75' TO INNER UUID '265b2ff1-31c7-4feb-8aea-4e343a6cc01d'
(
    `k` UInt64,
    `d` Date,
    `v` String
)
ENGINE = MergeTree
ORDER BY k
TTL d + toIntervalYear(1)
SETTINGS index_granularity = 1000
AS SELECT *
FROM l.src",
    ),
    (
        "mvin2",
        r"ATTACH MATERIALIZED VIEW _ UUID 'd3efad2c-ac89-47ad-b63a-f959cf389409' TO INNER UUID '1a20fd49-962e-40de-8ed8-c213c12a6b84'
(
    `k` UInt64,
    `d` Date,
    `v` String CODEC(ZSTD(3))
)
ENGINE = SummingMergeTree
PARTITION BY d
ORDER BY k
SETTINGS index_granularity = 8192
AS SELECT
    k,
    d,
    v
FROM l.src",
    ),
    (
        "rto",
        r"ATTACH MATERIALIZED VIEW _ UUID 'e9fd6400-1ab3-4e47-95ee-a02de5baa945'
REFRESH EVERY 1 DAY OFFSET 2 HOUR RANDOMIZE FOR 1 MINUTE TO l.dst
(
    `k` UInt64,
    `d` Date,
    `v` String
)
DEFINER = default SQL SECURITY DEFINER
AS SELECT *
FROM l.src",
    ),
    (
        "rapp",
        r"ATTACH MATERIALIZED VIEW _ UUID '92b28592-fa7e-46d5-a8d8-9c4fe7a1e046'
REFRESH AFTER 1 HOUR SETTINGS refresh_retries = 3 APPEND TO l.dst
(
    `k` UInt64,
    `d` Date,
    `v` String
)
DEFINER = default SQL SECURITY DEFINER
AS SELECT *
FROM l.src",
    ),
    (
        "rin",
        r"ATTACH MATERIALIZED VIEW _ UUID '12f844a6-d557-4a21-8b2e-8f817e9b8abb'
REFRESH EVERY 1 DAY
(
    `k` UInt64,
    `d` Date,
    `v` String
)
ENGINE = MergeTree
ORDER BY k
SETTINGS index_granularity = 8192
DEFINER = default SQL SECURITY DEFINER
AS SELECT *
FROM l.src",
    ),
    (
        "rin2",
        r"ATTACH MATERIALIZED VIEW _ UUID '8d4a4089-9cc3-4347-899c-f683d43eb68c'
REFRESH EVERY 1 DAY DEPENDS ON l.rin, l.rto APPEND TO INNER UUID '39e5d32a-0cce-444d-a110-9846061afdc2'
(
    `k` UInt64,
    `v` String
)
ENGINE = MergeTree
ORDER BY k
SETTINGS index_granularity = 1000
DEFINER = default SQL SECURITY DEFINER
AS SELECT
    k,
    v
FROM l.src",
    ),
    (
        "rto3",
        r"ATTACH MATERIALIZED VIEW _ UUID 'b4f3ac80-5371-4925-9a3e-585871a14020'
REFRESH EVERY 1 DAY DEPENDS ON l.rin TO l.mt3
(
    `k` UInt64
)
DEFINER = default SQL SECURITY DEFINER
AS SELECT k
FROM l.src",
    ),
    (
        "ts2",
        r"ATTACH TABLE _ UUID '91c97570-f3da-4bc2-9752-f33f12eff2ec'
(
    `metric_name` String,
    `tags` Map(String, String),
    `samples` Array(Tuple(DateTime64(3), Float64)),
    `metric_family` String,
    `type` String,
    `unit` String,
    `help` String
)
ENGINE = TimeSeries
SETTINGS tags_to_columns = {'a':'b'}, version = 4, recent_samples_ttl_seconds = 345600
SAMPLES INNER UUID 'b744e6df-b8f4-4030-8435-7633ca765c4e'
SAMPLES INNER COLUMNS
(
    `id` Tuple(UInt64, LowCardinality(UUID)),
    `timestamp` DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    `value` Float64 CODEC(ZSTD(3))
)
SAMPLES INNER
ENGINE = MergeTree
ORDER BY (id, timestamp)
SETTINGS index_granularity = 32768
TAGS INNER UUID '9bde8c42-bc23-466e-b5cf-3f72ff5b8fd3'
TAGS INNER COLUMNS
(
    `id` Tuple(UInt64, LowCardinality(UUID)) DEFAULT tuple(sipHash64(metric_name), toLowCardinality(reinterpretAsUUID(sipHash128(tags)))),
    `metric_name` LowCardinality(String),
    `b` String,
    `tags` Map(LowCardinality(String), String),
    `min_time` SimpleAggregateFunction(min, Nullable(DateTime64(3))),
    `max_time` SimpleAggregateFunction(max, Nullable(DateTime64(3)))
)
TAGS INNER
ENGINE = AggregatingMergeTree
PRIMARY KEY id
ORDER BY id
SETTINGS index_granularity = 8192, allow_dimensions_outside_sorting_key = 1
METRIC FAMILIES INNER UUID 'd9747cad-a285-4f03-b0e4-8495866d7d36'
METRIC FAMILIES INNER COLUMNS
(
    `metric_family_name` String,
    `type` LowCardinality(String),
    `unit` LowCardinality(String),
    `help` String
)
METRIC FAMILIES INNER
ENGINE = ReplacingMergeTree
ORDER BY metric_family_name
RECENT SAMPLES INNER UUID '90c30662-c26c-4d7a-b9d7-9054739420ac'
RECENT SAMPLES INNER COLUMNS
(
    `id` Tuple(UInt64, LowCardinality(UUID)),
    `timestamp` DateTime64(3) CODEC(DoubleDelta, ZSTD(1)),
    `value` Float64 CODEC(ZSTD(3))
)
RECENT SAMPLES INNER
ENGINE = MergeTree
PARTITION BY toStartOfInterval(toDateTime(timestamp), toIntervalHour(5))
ORDER BY (id, timestamp)
TTL toDateTime(timestamp) + toIntervalSecond(345600)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1",
    ),
    (
        "s3",
        r"ATTACH TABLE _ UUID 'f961fc05-325e-4718-95bf-098bea3f51ad'
(
    `k` UInt64
)
ENGINE = S3('http://localhost:1/bucket/x', 'KEYID', 'SECRETKEY', 'CSV')",
    ),
    (
        "my",
        r"ATTACH TABLE _ UUID '764a9761-1838-4679-8978-a60394770eb4'
(
    `k` UInt64
)
ENGINE = MySQL('localhost:1', 'db', 'tab', 'user', 'mypw')",
    ),
    (
        "pg",
        r"ATTACH TABLE _ UUID '6494a1bf-3e8c-44d2-ace1-97d0ce0aa785'
(
    `k` UInt64
)
ENGINE = PostgreSQL('localhost:1', 'db', 'tab', 'user', 'pgpw')",
    ),
    (
        "mon",
        r"ATTACH TABLE _ UUID 'e0a74acf-eb0a-456b-a219-061552e7691f'
(
    `k` UInt64,
    `v` String
)
ENGINE = MongoDB('localhost:1', 'db', 'c', 'u', 'mopw')",
    ),
    (
        "red",
        r"ATTACH TABLE _ UUID '191fc542-3d45-44a1-8ec7-ab9fe58b778d'
(
    `k` String,
    `v` String
)
ENGINE = Redis('localhost:1', 0, 'repw')
PRIMARY KEY k",
    ),
    (
        "url",
        r"ATTACH TABLE _ UUID 'b0a0a0b7-231f-45f2-97d8-e1a02b2880f4'
(
    `k` UInt64
)
ENGINE = URL('http://u:pw@localhost:1/x', 'CSV')",
    ),
    (
        "url2",
        r"ATTACH TABLE _ UUID 'd1e88ef6-14e7-414d-b7a0-04b62a57daa5'
(
    `k` UInt64
)
ENGINE = URL('http://localhost:1/x', 'CSV', headers('Authorization' = 'Bearer tok'))",
    ),
    (
        "az",
        r"ATTACH TABLE _ UUID 'cc6e03cb-9084-4f97-b118-2991757cd100'
(
    `k` UInt64
)
ENGINE = AzureBlobStorage('DefaultEndpointsProtocol=https;AccountName=a;AccountKey=akey;EndpointSuffix=core.windows.net', 'cont', 'x.csv', 'CSV')",
    ),
    (
        "enc",
        r"ATTACH TABLE _ UUID '2ab321ad-e7e1-4abe-9b99-7d420f025900'
(
    `k` String DEFAULT encrypt('aes-256-ofb', 'text', 'keykeykeykeykeykeykeykeykeykeyke'),
    `h` String MATERIALIZED HMAC('sha256', k, 'hmackey')
)
ENGINE = MergeTree
ORDER BY k
SETTINGS index_granularity = 8192",
    ),
    (
        "log",
        r"ATTACH TABLE _ UUID 'fedb8cdb-8cec-43b1-a448-b487441999e9'
(
    `k` UInt64
)
ENGINE = Log",
    ),
];

/// Files below `metadata/` of ClickHouse 18.16.
pub(super) const V18: &[(&str, &str)] = &[
    (
        "inner",
        r"ATTACH TABLE `.inner.mv`
(
    d Date,
    k UInt64
)
ENGINE = MergeTree(d, k, 8192)",
    ),
    (
        "b",
        r"ATTACH TABLE b
(
    d Date,
    k UInt64,
    v String DEFAULT 'it\'s; x',
    `we ird` UInt8,
    e Enum8('a' = 1)
)
ENGINE = Buffer(lab, t, 16, 10, 100, 10000, 1000000, 10000000, 100000000)",
    ),
    (
        "key",
        r"ATTACH TABLE key
(
    d Date,
    key UInt64
)
ENGINE = MergeTree
ORDER BY key
SETTINGS index_granularity = 8192",
    ),
    (
        "m",
        r"ATTACH TABLE m
(
    d Date,
    k UInt64,
    v String DEFAULT 'it\'s; x',
    `we ird` UInt8,
    e Enum8('a' = 1)
)
ENGINE = Merge(lab, '^t$')",
    ),
    (
        "mv",
        r"ATTACH MATERIALIZED VIEW mv
(
    d Date,
    k UInt64
)
ENGINE = MergeTree(d, k, 8192) AS
SELECT
    d,
    k
FROM lab.t",
    ),
    (
        "mv2",
        r"ATTACH MATERIALIZED VIEW mv2
(
    d Date,
    k UInt64
)
ENGINE = SummingMergeTree
ORDER BY k
SETTINGS index_granularity = 8192 AS
SELECT
    d,
    k
FROM lab.t",
    ),
    (
        "mvto",
        r"ATTACH MATERIALIZED VIEW mvto TO lab.tgt
(
    v String
) AS
SELECT v
FROM lab.t",
    ),
    (
        "n",
        r"ATTACH TABLE n
(
    k UInt64
)
ENGINE = Null",
    ),
    (
        "r",
        r"ATTACH TABLE r
(
    d Date,
    k UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(d)
ORDER BY k
SETTINGS index_granularity = 1024",
    ),
    (
        "t",
        r"ATTACH TABLE t
(
    d Date,
    k UInt64,
    v String DEFAULT 'it\'s; x',
    `we ird` UInt8,
    e Enum8('a' = 1)
)
ENGINE = MergeTree(d, (d, k), 8192)",
    ),
    (
        "v",
        r"ATTACH VIEW v
(
    k UInt64,
    v String
) AS
SELECT
    k,
    v
FROM lab.t
WHERE v != ';'",
    ),
    (
        "kaf",
        r"ATTACH TABLE kaf
(
    k UInt64
)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'localhost:1', kafka_topic_list = 't', kafka_group_name = 'g', kafka_format = 'CSV'",
    ),
];

/// The text of a sample.
pub(super) fn sample(name: &str) -> &'static str {
    V26.iter().chain(V18).find(|(known, _)| *known == name).map(|(_, text)| *text).expect(name)
}
