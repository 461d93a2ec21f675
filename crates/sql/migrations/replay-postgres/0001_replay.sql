CREATE TABLE replay (
    principal  TEXT   NOT NULL,
    method     TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    hash       BYTEA  NOT NULL,
    answer     BYTEA  NOT NULL,
    stored_at  BIGINT NOT NULL, -- seconds since 1970
    PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX replay_stored_at ON replay (stored_at);
