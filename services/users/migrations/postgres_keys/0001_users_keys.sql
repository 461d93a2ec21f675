-- The keys by which programs call in the name of an account. Times are microseconds since 1970. An account has few of them.
CREATE TABLE api_keys (
    user_id      TEXT   COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id           TEXT   COLLATE "C" NOT NULL,
    digest       BYTEA  NOT NULL UNIQUE, -- SHA-256; the key itself is nowhere
    display_name TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,        -- with a space between two; empty where nothing restricts the key
    create_time  BIGINT NOT NULL,
    expire_time  BIGINT NOT NULL,
    revoke_time  BIGINT,
    end_time     BIGINT NOT NULL,        -- when it was revoked, or else expires
    slot         INT    NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX api_keys_by_end ON api_keys (end_time);
CREATE INDEX api_keys_by_slot ON api_keys (slot);
