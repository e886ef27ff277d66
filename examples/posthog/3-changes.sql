-- What happens between two nights.

-- INSERT of 12,000 events of 1 November; the materialized views follow
INSERT INTO posthog.events
    (uuid, event, properties, timestamp, team_id, distinct_id, elements_chain, created_at,
    person_id, person_created_at, person_properties, person_mode, _timestamp, _offset)
SELECT
    reinterpretAsUUID(sipHash128('november', _offset)), event,
    replaceOne(properties, '$session_id":"', '$session_id":"11'),
    toDateTime64('2026-11-01 00:00:00', 6, 'UTC') + toIntervalMillisecond((_offset - 200000) * 7199),
    team_id, distinct_id, elements_chain, timestamp + 2,
    person_id, person_created_at, person_properties, person_mode, toDateTime(timestamp, 'UTC') + 3, _offset + 100000
FROM posthog.events
WHERE _offset >= 200000 AND _offset < 212000;

-- INSERT of late events of October, from phones that were offline
INSERT INTO posthog.events
    (uuid, event, properties, timestamp, team_id, distinct_id, elements_chain, created_at,
    person_id, person_created_at, person_properties, person_mode, _timestamp, _offset)
SELECT
    reinterpretAsUUID(sipHash128('late', _offset)), event, properties,
    timestamp, team_id, distinct_id, elements_chain, created_at + 86400,
    person_id, person_created_at, person_properties, person_mode, _timestamp + 86400, _offset + 200000
FROM posthog.events
WHERE timestamp >= '2026-10-20 00:00:00' AND timestamp < '2026-10-24 00:00:00';

-- OPTIMIZE: October's parts are merged into one
OPTIMIZE TABLE posthog.events PARTITION 202610 FINAL;

-- ALTER UPDATE, a mutation: one column of September is written anew
ALTER TABLE posthog.events UPDATE elements_chain = '' IN PARTITION 202609 WHERE elements_chain != ''
SETTINGS mutations_sync = 2;

-- UPDATE, the lightweight one: a patch part for person
UPDATE posthog.person SET is_identified = 1 WHERE team_id = 2 AND is_identified = 0;

-- DROP PARTITION: May goes away
ALTER TABLE posthog.events DROP PARTITION 202605;
