-- A small PostHog-like database: its usual tables and table engines, without Kafka, shards and replicas.
-- A statement ends with a semicolon at the end of a line; the comment above it says what it does.

-- the database
CREATE DATABASE posthog;

-- a function
CREATE FUNCTION json_text AS (properties, key) -> replaceRegexpAll(JSONExtractRaw(properties, key), '^"|"$', '');

-- events: ReplacingMergeTree by month, with materialized columns, skip indexes and a projection
CREATE TABLE posthog.events
(
    uuid UUID,
    event String,
    properties String CODEC(ZSTD(3)),
    timestamp DateTime64(6, 'UTC'),
    team_id Int64,
    distinct_id String,
    elements_chain String,
    created_at DateTime64(6, 'UTC'),
    person_id UUID,
    person_created_at DateTime64(3, 'UTC'),
    person_properties String CODEC(ZSTD(3)),
    person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2),
    `$session_id` String MATERIALIZED json_text(properties, '$session_id'),
    `mat_$browser` LowCardinality(String) MATERIALIZED json_text(properties, '$browser'),
    `mat_$current_url` String MATERIALIZED json_text(properties, '$current_url'),
    _timestamp DateTime('UTC'),
    _offset UInt64,
    INDEX minmax_timestamp _timestamp TYPE minmax GRANULARITY 3,
    INDEX `bloom_$session_id` `$session_id` TYPE bloom_filter GRANULARITY 1,
    PROJECTION by_hour
    (
        SELECT team_id, event, toStartOfHour(timestamp), count(), uniq(distinct_id)
        GROUP BY team_id, event, toStartOfHour(timestamp)
    )
)
ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
SAMPLE BY cityHash64(distinct_id)
SETTINGS deduplicate_merge_projection_mode = 'rebuild';

-- person: ReplacingMergeTree, ready for lightweight updates
CREATE TABLE posthog.person
(
    id UUID,
    created_at DateTime64(3, 'UTC'),
    team_id Int64,
    properties String CODEC(ZSTD(3)),
    is_identified Int8,
    is_deleted Int8 DEFAULT 0,
    version UInt64,
    _timestamp DateTime('UTC'),
    INDEX minmax_timestamp _timestamp TYPE minmax GRANULARITY 3
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (team_id, id)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1;

-- person_distinct_id2: ReplacingMergeTree
CREATE TABLE posthog.person_distinct_id2
(
    team_id Int64,
    distinct_id String,
    person_id UUID,
    is_deleted Int8,
    version Int64,
    _timestamp DateTime('UTC')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (team_id, distinct_id)
SETTINGS index_granularity = 512;

-- sessions: AggregatingMergeTree
CREATE TABLE posthog.sessions
(
    session_id String,
    team_id Int64,
    distinct_id AggregateFunction(argMax, String, DateTime64(6, 'UTC')),
    min_timestamp SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    max_timestamp SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    urls SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
    entry_url AggregateFunction(argMin, String, DateTime64(6, 'UTC')),
    exit_url AggregateFunction(argMax, String, DateTime64(6, 'UTC')),
    referring_domain AggregateFunction(argMin, String, DateTime64(6, 'UTC')),
    pageview_uniq AggregateFunction(uniq, UUID),
    autocapture_count SimpleAggregateFunction(sum, Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(min_timestamp)
ORDER BY (team_id, toDate(min_timestamp), session_id);

-- its materialized view, which writes to it
CREATE MATERIALIZED VIEW posthog.sessions_mv TO posthog.sessions AS
SELECT
    `$session_id` AS session_id,
    team_id,
    argMaxState(distinct_id, timestamp) AS distinct_id,
    min(timestamp) AS min_timestamp,
    max(timestamp) AS max_timestamp,
    groupUniqArray(`mat_$current_url`) AS urls,
    argMinState(`mat_$current_url`, timestamp) AS entry_url,
    argMaxState(`mat_$current_url`, timestamp) AS exit_url,
    argMinState(json_text(properties, '$referring_domain'), timestamp) AS referring_domain,
    uniqStateIf(uuid, event = '$pageview') AS pageview_uniq,
    toInt64(countIf(event = '$autocapture')) AS autocapture_count
FROM posthog.events
WHERE `$session_id` != ''
GROUP BY session_id, team_id;

-- a materialized view with an inner table of its own
CREATE MATERIALIZED VIEW posthog.events_by_day
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (team_id, day, event)
AS SELECT team_id, toDate(timestamp) AS day, event, countState() AS events, uniqState(person_id) AS persons
FROM posthog.events
GROUP BY team_id, day, event;

-- session_replay_events: AggregatingMergeTree
CREATE TABLE posthog.session_replay_events
(
    session_id String,
    team_id Int64,
    distinct_id SimpleAggregateFunction(any, String),
    min_first_timestamp SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    max_last_timestamp SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    block_urls SimpleAggregateFunction(groupArrayArray, Array(String)),
    first_url AggregateFunction(argMin, Nullable(String), DateTime64(6, 'UTC')),
    click_count SimpleAggregateFunction(sum, Int64),
    keypress_count SimpleAggregateFunction(sum, Int64),
    mouse_activity_count SimpleAggregateFunction(sum, Int64),
    active_milliseconds SimpleAggregateFunction(sum, Int64),
    size SimpleAggregateFunction(sum, Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(min_first_timestamp)
ORDER BY (toDate(min_first_timestamp), team_id, session_id);

-- cohortpeople: CollapsingMergeTree
CREATE TABLE posthog.cohortpeople
(
    person_id UUID,
    cohort_id Int64,
    team_id Int64,
    sign Int8,
    version UInt64
)
ENGINE = CollapsingMergeTree(sign)
ORDER BY (team_id, cohort_id, person_id, version);

-- app_metrics: SummingMergeTree
CREATE TABLE posthog.app_metrics
(
    team_id Int64,
    timestamp DateTime64(6, 'UTC'),
    plugin_config_id Int64,
    category LowCardinality(String),
    job_id String,
    successes SimpleAggregateFunction(sum, Int64),
    successes_on_retry SimpleAggregateFunction(sum, Int64),
    failures SimpleAggregateFunction(sum, Int64)
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (team_id, plugin_config_id, job_id, category, toStartOfHour(timestamp));

-- channel_definition: MergeTree
CREATE TABLE posthog.channel_definition
(
    domain String,
    kind String,
    type_if_paid Nullable(String),
    type_if_organic Nullable(String)
)
ENGINE = MergeTree
ORDER BY (domain, kind);

-- a dictionary over it
CREATE DICTIONARY posthog.channel_definition_dict
(
    domain String,
    kind String,
    type_if_paid Nullable(String),
    type_if_organic Nullable(String)
)
PRIMARY KEY domain, kind
SOURCE(CLICKHOUSE(DB 'posthog' TABLE 'channel_definition'))
LIFETIME(MIN 3000 MAX 3600)
LAYOUT(COMPLEX_KEY_HASHED());

-- a view that uses the dictionary and the function
CREATE VIEW posthog.pageviews_by_channel AS
SELECT
    team_id,
    toDate(timestamp) AS day,
    coalesce(dictGet('posthog.channel_definition_dict', 'type_if_organic',
        (json_text(properties, '$referring_domain'), 'source')), 'Direct') AS channel,
    count() AS pageviews
FROM posthog.events
WHERE event = '$pageview'
GROUP BY team_id, day, channel;
