-- Half a year of sample data, May to October 2026. All of it comes from hashes of numbers: every run
-- gives the same rows.

-- 7 channels
INSERT INTO posthog.channel_definition VALUES
    ('google.com', 'source', 'Paid Search', 'Organic Search'),
    ('bing.com', 'source', 'Paid Search', 'Organic Search'),
    ('news.example', 'source', 'Paid Referral', 'Referral'),
    ('video.example', 'source', 'Paid Video', 'Organic Video'),
    ('social.example', 'source', 'Paid Social', 'Organic Social'),
    ('shop.example', 'source', 'Paid Shopping', 'Organic Shopping'),
    ('mail.example', 'source', NULL, 'Email');

-- 20,000 persons
INSERT INTO posthog.person (id, created_at, team_id, properties, is_identified, version, _timestamp)
SELECT
    reinterpretAsUUID(sipHash128('person', number)) AS id,
    toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + cityHash64('joined', number) % 15000000 AS created_at,
    1 + number % 3 AS team_id,
    concat('{"email":"', hex(cityHash64('mail', number)), '@mail.example","plan":"',
        ['free', 'startup', 'scale'][1 + cityHash64('plan', number) % 3], '","$initial_os":"',
        ['Linux', 'Mac OS X', 'Windows', 'iOS', 'Android'][1 + cityHash64('os', number) % 5], '"}') AS properties,
    number % 4 = 0 AS is_identified,
    number % 3 AS version,
    toDateTime(created_at, 'UTC') AS _timestamp
FROM numbers(20000);

-- 26,000 distinct ids
INSERT INTO posthog.person_distinct_id2
SELECT
    1 + number % 20000 % 3 AS team_id,
    lower(hex(sipHash64('distinct', number))) AS distinct_id,
    reinterpretAsUUID(sipHash128('person', number % 20000)) AS person_id,
    0 AS is_deleted,
    0 AS version,
    toDateTime('2026-05-01 00:00:00', 'UTC') + cityHash64('joined', number % 20000) % 15000000 AS _timestamp
FROM numbers(26000);

-- 300,000 events in six months
INSERT INTO posthog.events
    (uuid, event, properties, timestamp, team_id, distinct_id, elements_chain, created_at,
    person_id, person_created_at, person_properties, person_mode, _timestamp, _offset)
WITH
    intDiv(number, 6) AS session,
    cityHash64('who', session) % 26000 AS who,
    cityHash64('event', number) AS hash,
    toDateTime64('2026-05-01 00:00:00', 6, 'UTC') + toIntervalSecond(session * 15897000 / 50000)
        + toIntervalMicrosecond(number % 6 * 41000000 + hash % 40000000) AS moment
SELECT
    reinterpretAsUUID(sipHash128('event', number)) AS uuid,
    ['$pageview', '$pageview', '$pageleave', '$autocapture', '$autocapture', '$identify', 'signed up', 'paid']
        [1 + hash % 8] AS event,
    concat('{"$session_id":"', lower(hex(sipHash128('session', session))),
        '","$browser":"', ['Chrome', 'Chrome', 'Safari', 'Firefox', 'Edge'][1 + cityHash64('browser', who) % 5],
        '","$current_url":"https://app.example/', ['', 'pricing', 'docs', 'login', 'project', 'insights'][1 + hash % 6],
        '?utm_id=', toString(hash % 100000),
        '","$referring_domain":"', ['google.com', 'bing.com', 'news.example', 'social.example', '$direct']
            [1 + cityHash64('from', session) % 5],
        '","$lib":"web","$lib_version":"1.', toString(190 + hash % 20),
        '","$insert_id":"', lower(hex(hash)), '","$screen_width":', toString(1280 + 64 * (who % 12)), '}') AS properties,
    moment AS timestamp,
    1 + who % 20000 % 3 AS team_id,
    lower(hex(sipHash64('distinct', who))) AS distinct_id,
    if(event = '$autocapture', concat('button.primary:nth-child="', toString(hash % 9), '";div.row;body'), '') AS elements_chain,
    moment + 2 AS created_at,
    reinterpretAsUUID(sipHash128('person', who % 20000)) AS person_id,
    toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + cityHash64('joined', who % 20000) % 15000000 AS person_created_at,
    concat('{"plan":"', ['free', 'startup', 'scale'][1 + cityHash64('plan', who % 20000) % 3], '"}') AS person_properties,
    if(who % 4 = 0, 'full', 'propertyless') AS person_mode,
    toDateTime(moment, 'UTC') + 3 AS _timestamp,
    number AS _offset
FROM numbers(300000)
SETTINGS max_insert_threads = 1, max_threads = 1;

-- 50,000 session replays
INSERT INTO posthog.session_replay_events
SELECT
    lower(hex(sipHash128('session', number))) AS session_id,
    1 + cityHash64('who', number) % 26000 % 20000 % 3 AS team_id,
    lower(hex(sipHash64('distinct', cityHash64('who', number) % 26000))) AS distinct_id,
    toDateTime64('2026-05-01 00:00:00', 6, 'UTC') + toIntervalSecond(number * 15897000 / 50000) AS min_first_timestamp,
    min_first_timestamp + 246 AS max_last_timestamp,
    [concat('s3://replays/', lower(hex(sipHash128('block', number))))] AS block_urls,
    initializeAggregation('argMinState', toNullable('https://app.example/'), min_first_timestamp) AS first_url,
    cityHash64('clicks', number) % 30 AS click_count,
    cityHash64('keys', number) % 200 AS keypress_count,
    cityHash64('mouse', number) % 900 AS mouse_activity_count,
    cityHash64('active', number) % 240000 AS active_milliseconds,
    cityHash64('size', number) % 2000000 AS size
FROM numbers(50000);

-- 12,000 cohort members
INSERT INTO posthog.cohortpeople
SELECT reinterpretAsUUID(sipHash128('person', number)), 1 + number % 5, 1 + number % 3, 1, 1 FROM numbers(12000);

-- 40,000 app metrics
INSERT INTO posthog.app_metrics
SELECT
    1 + number % 3,
    toDateTime64('2026-05-01 00:00:00', 6, 'UTC') + toIntervalSecond(number * 397),
    1 + number % 7,
    ['processEvent', 'onEvent', 'exportEvents'][1 + number % 3],
    '',
    cityHash64('ok', number) % 500,
    cityHash64('retry', number) % 5,
    cityHash64('bad', number) % 3
FROM numbers(40000);
