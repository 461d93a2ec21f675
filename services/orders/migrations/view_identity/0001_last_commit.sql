-- The position and identity of the last commit that was applied, '{n}/{identity}'. An earlier release moves n alone: where
-- the two positions differ, the identity isn't known.
ALTER TABLE checkpoints ADD COLUMN last_commit TEXT NOT NULL DEFAULT '';
