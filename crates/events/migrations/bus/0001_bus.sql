CREATE TABLE messages (
    stream     TEXT    NOT NULL,
    partition  INTEGER NOT NULL,
    n          INTEGER NOT NULL, -- the commit's place in its source's partition
    i          INTEGER NOT NULL, -- the event's place in the commit
    id         TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    time       INTEGER NOT NULL, -- microseconds since 1970
    data       BLOB    NOT NULL,
    stored_at  INTEGER NOT NULL, -- seconds since 1970
    PRIMARY KEY (stream, partition, n, i)
) WITHOUT ROWID;

-- How far each consumer has come. A consumer has a row for each partition from its first start on; what it hasn't
-- acknowledged is kept for it.
CREATE TABLE acknowledged (
    consumer  TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    i         INTEGER NOT NULL,
    PRIMARY KEY (consumer, stream, partition)
) WITHOUT ROWID;

-- Events that a consumer could not handle, and those of the same aggregate behind them. They are copies, so that they
-- outlive the messages.
CREATE TABLE parked (
    consumer  TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    i         INTEGER NOT NULL,
    id        TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    time      INTEGER NOT NULL, -- microseconds since 1970
    data      BLOB    NOT NULL,
    reason    TEXT    NOT NULL,
    parked_at INTEGER NOT NULL, -- seconds since 1970
    PRIMARY KEY (consumer, stream, partition, n, i)
) WITHOUT ROWID;
