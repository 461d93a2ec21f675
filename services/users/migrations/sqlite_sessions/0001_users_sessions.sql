-- When sessions began and were refreshed, 0 where that wasn't kept; and what a used token may give its answer again by: the digest of
-- the token that followed, and the salt by which it follows, together with a key that isn't here. NULL where it may not.
ALTER TABLE sessions ADD COLUMN create_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN refresh_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE refresh_tokens ADD COLUMN successor BLOB;
ALTER TABLE refresh_tokens ADD COLUMN salt BLOB;
ALTER TABLE refresh_tokens ADD COLUMN repeat_until INTEGER;
