-- What the statements need that serve shards too. One file has all of it: `slot` says nothing here, and every claim is confirmed.
ALTER TABLE users ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN claim TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE refresh_tokens ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE refresh_tokens ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;

CREATE TABLE email_claims (
    email_key  TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    claim      TEXT    NOT NULL,
    confirmed  INTEGER NOT NULL CHECK (confirmed IN (0, 1)),
    claimed_at INTEGER NOT NULL,
    slot       INTEGER NOT NULL
) STRICT;
INSERT INTO email_claims (email_key, user_id, claim, confirmed, claimed_at, slot)
SELECT email_key, id, claim, 1, create_time, 0 FROM users;

CREATE TABLE claim_ends (
    claim    TEXT    NOT NULL PRIMARY KEY,
    user_id  TEXT    NOT NULL,
    used     INTEGER NOT NULL CHECK (used IN (0, 1)),
    ended_at INTEGER NOT NULL,
    slot     INTEGER NOT NULL
) STRICT;
CREATE INDEX claim_ends_by_age ON claim_ends (ended_at);

-- The release before knows of no claims: these keep them right for what it writes. What this release writes is there already.
CREATE TRIGGER users_claimed AFTER INSERT ON users
BEGIN
    INSERT OR IGNORE INTO email_claims (email_key, user_id, claim, confirmed, claimed_at, slot)
    VALUES (NEW.email_key, NEW.id, NEW.claim, 1, NEW.create_time, NEW.slot);
END;
CREATE TRIGGER users_claimed_anew AFTER UPDATE OF email_key ON users WHEN NEW.email_key <> OLD.email_key
BEGIN
    DELETE FROM email_claims WHERE email_key = OLD.email_key AND user_id = OLD.id;
    INSERT OR IGNORE INTO email_claims (email_key, user_id, claim, confirmed, claimed_at, slot)
    VALUES (NEW.email_key, NEW.id, NEW.claim, 1, NEW.update_time, NEW.slot);
END;
