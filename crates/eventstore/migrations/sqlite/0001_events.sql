-- Fixed when the store is made: positions depend on it.
CREATE TABLE event_store (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    partitions INTEGER NOT NULL CHECK (partitions BETWEEN 1 AND 1024)
);

-- Rows are only ever inserted. Three constraints: a command commits once, a version exists once, a position exists once.
CREATE TABLE commits (
    stream        TEXT    NOT NULL,
    command_id    TEXT    NOT NULL,
    command_hash  BLOB    NOT NULL,
    partition     INTEGER NOT NULL,
    position      INTEGER NOT NULL, -- dense in the partition, from 1
    first_version INTEGER NOT NULL,
    last_version  INTEGER NOT NULL CHECK (last_version >= first_version),
    recorded_at   INTEGER NOT NULL, -- microseconds since 1970
    result        BLOB    NOT NULL,
    PRIMARY KEY (stream, command_id),
    UNIQUE (partition, stream, first_version),
    UNIQUE (partition, position)
);

CREATE TABLE events (
    partition      INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    event_type     TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    data           BLOB    NOT NULL,
    PRIMARY KEY (partition, position, version)
) WITHOUT ROWID;
