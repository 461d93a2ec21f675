-- The slot and the key of what a request is about, by which its answer goes where that goes.
ALTER TABLE replay ADD COLUMN slot INT NOT NULL DEFAULT 0;
ALTER TABLE replay ADD COLUMN key TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX replay_slot ON replay (slot);
CREATE INDEX replay_key ON replay (key);
