-- Events of aggregates that have come from another database, which has published them: for consumers that miss some.
CREATE TABLE outbox_history (
    subject        TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    time           INTEGER NOT NULL, -- microseconds since 1970
    context        TEXT    NOT NULL,
    data           BLOB    NOT NULL,
    slot           INTEGER NOT NULL, -- the slot and the key by which the aggregate has its place
    key            TEXT    NOT NULL,
    PRIMARY KEY (subject, version)
) WITHOUT ROWID;
-- For what removes the oldest.
CREATE INDEX outbox_history_time ON outbox_history (time);
