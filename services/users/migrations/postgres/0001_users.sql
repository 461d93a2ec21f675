-- Times are microseconds since 1970. Ids and addresses are ordered byte by byte. `slot` is that of the key by which a row belongs to
-- a shard: the account's id, or the address or request itself.

CREATE TABLE users (
    id            TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    email         TEXT   NOT NULL,             -- as its owner writes it
    email_key     TEXT   COLLATE "C" NOT NULL, -- in lower case; unique by its claim, which may be in another shard
    display_name  TEXT   NOT NULL,
    role          TEXT   NOT NULL CHECK (role IN ('customer', 'staff', 'service')),
    password_hash TEXT   NOT NULL,             -- a PHC string
    create_time   BIGINT NOT NULL,
    update_time   BIGINT NOT NULL,
    delete_time   BIGINT,
    version       BIGINT NOT NULL CHECK (version > 0),
    slot          INT    NOT NULL,
    claim         TEXT   NOT NULL              -- the claim by which it has its address
);
CREATE INDEX users_by_age ON users (create_time, id);
CREATE INDEX users_by_role ON users (role, create_time, id);
CREATE INDEX users_by_slot ON users (slot, id);
-- Who signs in while the shard of their address is away is looked for by it.
CREATE INDEX users_by_email ON users (email_key);

-- A session that has ended is gone, and its tokens with it.
CREATE TABLE sessions (
    id          TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    user_id     TEXT   COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expire_time BIGINT NOT NULL, -- of its last token
    slot        INT    NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expire_time);
CREATE INDEX sessions_by_slot ON sessions (slot);

-- The used ones are kept until they expire, since one that comes again ends its session.
CREATE TABLE refresh_tokens (
    digest      BYTEA   NOT NULL PRIMARY KEY, -- SHA-256; the token itself is nowhere
    session_id  TEXT    COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expire_time BIGINT  NOT NULL,
    used        BOOLEAN NOT NULL,
    user_id     TEXT    COLLATE "C" NOT NULL,
    slot        INT     NOT NULL
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expire_time);
CREATE INDEX refresh_tokens_by_slot ON refresh_tokens (slot);

-- Who may have an account with an address. A claim that isn't confirmed was begun by somebody who may have ended since.
CREATE TABLE email_claims (
    email_key  TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    user_id    TEXT    COLLATE "C" NOT NULL,
    claim      TEXT    NOT NULL,
    confirmed  BOOLEAN NOT NULL,
    claimed_at BIGINT  NOT NULL,
    slot       INT     NOT NULL
);
CREATE INDEX email_claims_by_slot ON email_claims (slot);
-- Those that were left behind are looked for by their age.
CREATE INDEX email_claims_unconfirmed ON email_claims (claimed_at) WHERE NOT confirmed;

-- How claims that were made in another shard have ended, where their accounts are: used by an account, or void for good.
CREATE TABLE claim_ends (
    claim    TEXT    NOT NULL PRIMARY KEY,
    user_id  TEXT    COLLATE "C" NOT NULL,
    used     BOOLEAN NOT NULL,
    ended_at BIGINT  NOT NULL,
    slot     INT     NOT NULL
);
CREATE INDEX claim_ends_by_age ON claim_ends (ended_at);
CREATE INDEX claim_ends_by_slot ON claim_ends (slot);

-- Which account a request that may come again is to make; the answer is where that account is.
CREATE TABLE request_homes (
    key       TEXT    COLLATE "C" NOT NULL PRIMARY KEY, -- SHA-256 of the principal, the method and the request's id, in hex
    hash      BYTEA   NOT NULL,                         -- of the request without its id
    user_id   TEXT    COLLATE "C" NOT NULL,
    stored_at BIGINT  NOT NULL,                         -- when the request came last
    refused   BOOLEAN NOT NULL,                         -- the last try was answered, and has made no account
    slot      INT     NOT NULL
);
CREATE INDEX request_homes_by_age ON request_homes (stored_at);
CREATE INDEX request_homes_by_slot ON request_homes (slot);
