-- Why each event happened, as JSON; '' where nothing is known, as of those of earlier releases.
ALTER TABLE outbox ADD COLUMN context TEXT NOT NULL DEFAULT '';
-- The version of the type's schema, from 1.
ALTER TABLE outbox ADD COLUMN schema_version BIGINT NOT NULL DEFAULT 1;
