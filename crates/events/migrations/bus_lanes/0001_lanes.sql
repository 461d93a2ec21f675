ALTER TABLE messages ADD COLUMN schema_version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE messages ADD COLUMN context TEXT NOT NULL DEFAULT ''; -- why the event happened

-- Events that were published beside their lane, which had passed them already.
CREATE TABLE repaired (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    stream         TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    n              INTEGER NOT NULL, -- the commit's place in its source's partition
    i              INTEGER NOT NULL, -- the event's place in the commit
    id             TEXT    NOT NULL,
    source         TEXT    NOT NULL,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    subject        TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    time           INTEGER NOT NULL, -- microseconds since 1970
    context        TEXT    NOT NULL,
    data           BLOB    NOT NULL,
    stored_at      INTEGER NOT NULL  -- seconds since 1970
);
CREATE INDEX repaired_lane ON repaired (stream, partition, seq);

-- How a consumer's instances take part in handling a partition. What it has acknowledged of the messages stands in
-- "acknowledged".
CREATE TABLE subscriptions (
    consumer  TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL, -- what was acknowledged when an instance began last
    i         INTEGER NOT NULL,
    attempts  INTEGER NOT NULL, -- how many instances have begun there
    repaired  INTEGER NOT NULL, -- up to which of "repaired" it has acknowledged
    seen_at   INTEGER NOT NULL, -- when an instance began or acknowledged last, in seconds since 1970
    PRIMARY KEY (consumer, stream, partition)
) WITHOUT ROWID;
