CREATE TABLE outbox (
    partition BIGINT NOT NULL,
    n         BIGINT NOT NULL, -- dense in the partition, in commit order, from 1
    type      TEXT   NOT NULL,
    subject   TEXT   COLLATE "C" NOT NULL,
    version   BIGINT NOT NULL,
    time      BIGINT NOT NULL, -- microseconds since 1970
    data      BYTEA  NOT NULL,
    PRIMARY KEY (partition, n)
);
-- For consumers that miss some of an aggregate's events.
CREATE INDEX outbox_subject ON outbox (subject, version);

-- The row of a partition is the lock under which its positions are given out.
CREATE TABLE outbox_head (
    partition BIGINT NOT NULL PRIMARY KEY,
    n         BIGINT NOT NULL
);
