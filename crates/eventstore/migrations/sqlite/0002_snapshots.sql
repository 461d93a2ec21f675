-- The state of aggregates at versions. Only ever added, and nothing is lost when all are deleted.
CREATE TABLE snapshots (
    stream  TEXT    NOT NULL,
    schema  TEXT    NOT NULL, -- the shape of the state
    version INTEGER NOT NULL,
    data    BLOB    NOT NULL,
    PRIMARY KEY (stream, schema, version)
) WITHOUT ROWID;
