-- When an aggregate was last heard of; 0 for those that the release before has noted.
ALTER TABLE inbox ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0; -- microseconds since 1970
CREATE INDEX inbox_seen ON inbox (seen_at);

-- Events that a consumer could not handle, and those of the same aggregate behind them. They are copies, so that they
-- outlive the bus's messages.
CREATE TABLE dead_letter (
    id        TEXT    NOT NULL PRIMARY KEY,
    consumer  TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    event_id  TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL, -- the commit's place in its source's partition
    i         INTEGER NOT NULL, -- the event's place in the commit
    time      INTEGER NOT NULL, -- microseconds since 1970, as are all times
    data      BLOB    NOT NULL,
    reason    TEXT    NOT NULL,
    attempts  INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    tried_at  INTEGER NOT NULL,
    UNIQUE (consumer, subject, version)
);
CREATE INDEX dead_letter_newest ON dead_letter (consumer, parked_at, id);

-- Up to where each partition of a stream was handled or parked. The bus knows it too; it is behind that here once this
-- database was restored from an older copy.
CREATE TABLE inbox_position (
    consumer  TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    i         INTEGER NOT NULL,
    PRIMARY KEY (consumer, stream, partition)
);
