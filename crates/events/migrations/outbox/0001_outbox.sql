CREATE TABLE outbox (
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL, -- dense in the partition, in commit order, from 1
    type      TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    time      INTEGER NOT NULL, -- microseconds since 1970
    data      BLOB    NOT NULL,
    PRIMARY KEY (partition, n)
) WITHOUT ROWID;

CREATE TABLE outbox_head (
    partition INTEGER NOT NULL PRIMARY KEY,
    n         INTEGER NOT NULL
);
