-- Events that a consumer could not handle, and those of the same aggregate behind them. They are copies, so that they
-- outlive the bus's messages.
CREATE TABLE dead_letter (
    id        TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    consumer  TEXT   NOT NULL,
    stream    TEXT   NOT NULL,
    subject   TEXT   COLLATE "C" NOT NULL,
    version   BIGINT NOT NULL,
    event_id  TEXT   NOT NULL,
    source    TEXT   NOT NULL,
    type      TEXT   NOT NULL,
    partition BIGINT NOT NULL,
    n         BIGINT NOT NULL, -- the commit's place in its source's partition
    i         BIGINT NOT NULL, -- the event's place in the commit
    time      BIGINT NOT NULL, -- microseconds since 1970, as are all times
    data      BYTEA  NOT NULL,
    reason    TEXT   NOT NULL,
    attempts  BIGINT NOT NULL,
    parked_at BIGINT NOT NULL,
    tried_at  BIGINT NOT NULL,
    UNIQUE (consumer, subject, version)
);
CREATE INDEX dead_letter_newest ON dead_letter (consumer, parked_at, id);

-- Up to where each partition of a stream was handled or parked. The bus knows it too; it is behind that here once this
-- database was restored from an older copy.
CREATE TABLE inbox_position (
    consumer  TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    partition BIGINT NOT NULL,
    n         BIGINT NOT NULL,
    i         BIGINT NOT NULL,
    PRIMARY KEY (consumer, stream, partition)
);
