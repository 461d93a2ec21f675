-- Events of aggregates that have come from another database, which has published them: for consumers that miss some.
CREATE TABLE outbox_history (
    subject        TEXT   COLLATE "C" NOT NULL,
    version        BIGINT NOT NULL,
    type           TEXT   NOT NULL,
    schema_version BIGINT NOT NULL,
    time           BIGINT NOT NULL, -- microseconds since 1970
    context        TEXT   NOT NULL,
    data           BYTEA  NOT NULL,
    slot           INT    NOT NULL, -- the slot and the key by which the aggregate has its place
    key            TEXT   COLLATE "C" NOT NULL,
    PRIMARY KEY (subject, version)
);
-- For what removes the oldest, and for what moves a piece of them onwards.
CREATE INDEX outbox_history_time ON outbox_history (time);
CREATE INDEX outbox_history_slot ON outbox_history (slot);
CREATE INDEX outbox_history_key ON outbox_history (key);
