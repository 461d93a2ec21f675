CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL,        -- as its owner writes it
    email_key     TEXT    NOT NULL UNIQUE, -- in lower case; stays taken when the account is deleted
    display_name  TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('customer', 'staff', 'service')),
    password_hash TEXT    NOT NULL,        -- a PHC string
    create_time   INTEGER NOT NULL,        -- this and all other times in microseconds since 1970
    update_time   INTEGER NOT NULL,
    delete_time   INTEGER,
    version       INTEGER NOT NULL CHECK (version > 0)
) STRICT;
CREATE INDEX users_by_age ON users (create_time, id);
CREATE INDEX users_by_role ON users (role, create_time, id);

-- A session that has ended is gone, and its tokens with it.
CREATE TABLE sessions (
    id          TEXT    NOT NULL PRIMARY KEY,
    user_id     TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expire_time INTEGER NOT NULL -- of its last token
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expire_time);

-- The used ones are kept until they expire, since one that comes again ends its session.
CREATE TABLE refresh_tokens (
    digest      BLOB    NOT NULL PRIMARY KEY, -- SHA-256; the token itself is nowhere
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expire_time INTEGER NOT NULL,
    used        INTEGER NOT NULL CHECK (used IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expire_time);
