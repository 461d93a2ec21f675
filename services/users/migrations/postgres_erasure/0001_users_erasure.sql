-- When what is personal was erased of a deleted account. A release that doesn't know of it leaves it empty.
ALTER TABLE users ADD COLUMN erase_time BIGINT;
CREATE INDEX users_to_erase ON users (delete_time) WHERE delete_time IS NOT NULL AND erase_time IS NULL;
