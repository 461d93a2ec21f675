-- Whether a version was live once: one that was is not dropped when its builder falls silent.
ALTER TABLE view_versions ADD COLUMN was_live INTEGER NOT NULL DEFAULT 0;
UPDATE view_versions SET was_live = 1 WHERE state IN ('live', 'retired');
