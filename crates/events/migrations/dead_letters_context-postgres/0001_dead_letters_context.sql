-- Why each parked event happened, as JSON; '' where nothing is known, as of those of earlier releases.
ALTER TABLE dead_letter ADD COLUMN context TEXT NOT NULL DEFAULT '';
-- The version of the type's schema, from 1.
ALTER TABLE dead_letter ADD COLUMN schema_version BIGINT NOT NULL DEFAULT 1;
