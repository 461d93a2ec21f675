-- The slot and the key of what a request is about, by which its answer goes where that goes.
ALTER TABLE replay ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replay ADD COLUMN key TEXT NOT NULL DEFAULT '';
