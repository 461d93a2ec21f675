-- What this database knows of who owns which keys.
CREATE TABLE shard_map (
    one   BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one), -- there is one row
    shard BIGINT NOT NULL, -- the shard that this database is
    name  TEXT   NOT NULL,
    epoch BIGINT NOT NULL, -- the sum of all versions, for people
    mark  BIGINT NOT NULL, -- equal where the maps are equal
    map   JSONB  NOT NULL
);

-- The shards whose databases are known to have had a map: one of them that has none any more is not a new one.
CREATE TABLE shard_installed (
    shard BIGINT NOT NULL PRIMARY KEY
);

-- The pieces that this database owns: what each write looks at.
CREATE TABLE shard_owned (
    space        SMALLINT NOT NULL,
    piece        INTEGER  NOT NULL,
    version      BIGINT   NOT NULL,
    slot         INTEGER,          -- of a space that is hashed
    low          TEXT COLLATE "C", -- of a range: its first key
    high         TEXT COLLATE "C", -- and its end, NULL for the last one
    fenced_until BIGINT,           -- microseconds since 1970, by this database's clock; what is past fences nothing
    PRIMARY KEY (space, piece)
);

-- The pieces of which rows lie here that another database owns, or is about to.
CREATE TABLE shard_foreign (
    space SMALLINT NOT NULL,
    piece INTEGER  NOT NULL,
    slot  INTEGER,
    low   TEXT COLLATE "C",
    high  TEXT COLLATE "C",
    PRIMARY KEY (space, piece)
);

-- Enters a piece for the rest of the transaction: who fences it or gives it away waits for its end. It is VOLATILE, so that each
-- statement sees what was committed before it: the look comes after the lock.
CREATE FUNCTION shard_enter(in_space INTEGER, in_piece INTEGER, in_version BIGINT) RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    here RECORD;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(19799 + in_space, in_piece);
    SELECT o.version, o.fenced_until INTO here FROM shard_owned o WHERE o.space = in_space AND o.piece = in_piece;
    IF NOT FOUND OR here.version <> in_version THEN
        RAISE EXCEPTION 'piece % of space % is not owned here at version %', in_piece, in_space, in_version
            USING ERRCODE = 'MW001', DETAIL = format('the epoch here is %s', (SELECT m.epoch FROM shard_map m));
    END IF;
    IF here.fenced_until > CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) THEN
        RAISE EXCEPTION 'piece % of space % is being moved', in_piece, in_space USING ERRCODE = 'MW002';
    END IF;
END
$$;
