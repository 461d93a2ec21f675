-- Why each commit was made, as JSON; '' where nothing is known, as of those of earlier releases.
ALTER TABLE commits ADD COLUMN context TEXT NOT NULL DEFAULT '';
