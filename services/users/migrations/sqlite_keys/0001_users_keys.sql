-- The keys by which programs call in the name of an account. Times are microseconds since 1970. An account has few of them.
CREATE TABLE api_keys (
    user_id      TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id           TEXT    NOT NULL,
    digest       BLOB    NOT NULL UNIQUE, -- SHA-256; the key itself is nowhere
    display_name TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,        -- with a space between two; empty where nothing restricts the key
    create_time  INTEGER NOT NULL,
    expire_time  INTEGER NOT NULL,
    revoke_time  INTEGER,
    end_time     INTEGER NOT NULL,        -- when it was revoked, or else expires
    slot         INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_end ON api_keys (end_time);
