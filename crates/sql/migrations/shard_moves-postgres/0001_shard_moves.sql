-- Moves of pieces from this database to another, one under way at a time. Times are microseconds since 1970 by the clock of
-- this database.
CREATE TABLE shard_move (
    id          UUID     NOT NULL PRIMARY KEY,
    space       SMALLINT NOT NULL,
    -- Each piece with its version and its keys, as they were when the move began.
    pieces      JSONB    NOT NULL,
    to_shard    INT      NOT NULL,
    to_name     TEXT     NOT NULL,
    phase       TEXT     NOT NULL CHECK (phase IN ('prepare', 'copy', 'follow', 'fence', 'given', 'done', 'abandoned')),
    -- How far the copy has come: the table and the primary key of its last row.
    cursor      JSONB    NOT NULL,
    -- Counts the installations of the triggers; the one whose log has become too long is noted beside it.
    generation  INT      NOT NULL DEFAULT 0,
    overrun     INT      NOT NULL DEFAULT 0,
    fences      INT      NOT NULL DEFAULT 0,
    copied      BIGINT   NOT NULL DEFAULT 0,
    followed    BIGINT   NOT NULL DEFAULT 0,
    deleted     BIGINT   NOT NULL DEFAULT 0,
    started_at  BIGINT   NOT NULL,
    updated_at  BIGINT   NOT NULL
);

-- They share one log: a second move would throw away what the first must follow.
CREATE UNIQUE INDEX shard_move_one ON shard_move ((TRUE)) WHERE phase NOT IN ('done', 'abandoned');

-- The rows that were written while a move is under way, by whichever transaction wrote them.
CREATE TABLE shard_log (
    seq BIGSERIAL NOT NULL PRIMARY KEY,
    tab TEXT      NOT NULL,
    pk  JSONB     NOT NULL
);

-- Its arguments are the generation of the move and the columns of the primary key.
CREATE FUNCTION shard_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was     JSONB;
    becomes JSONB;
    logged  BIGINT;
BEGIN
    -- A move that stands still must not fill the disk: its log has an end, and it copies again.
    IF EXISTS (SELECT 1 FROM shard_move WHERE overrun = TG_ARGV[0]::int AND phase NOT IN ('done', 'abandoned')) THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        SELECT jsonb_object_agg(c, to_jsonb(OLD) -> c) INTO was FROM unnest(TG_ARGV[1:TG_NARGS - 1]) AS c;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT jsonb_object_agg(c, to_jsonb(NEW) -> c) INTO becomes FROM unnest(TG_ARGV[1:TG_NARGS - 1]) AS c;
    END IF;
    IF was IS NOT NULL THEN
        INSERT INTO shard_log (tab, pk) VALUES (TG_TABLE_NAME, was) RETURNING seq INTO logged;
    END IF;
    IF becomes IS NOT NULL AND becomes IS DISTINCT FROM was THEN
        INSERT INTO shard_log (tab, pk) VALUES (TG_TABLE_NAME, becomes) RETURNING seq INTO logged;
    END IF;
    -- Whoever writes must not wait for another who notes the same.
    IF logged % 1000 = 0 AND logged - (SELECT min(seq) FROM shard_log) > 1000000 THEN
        UPDATE shard_move SET overrun = TG_ARGV[0]::int WHERE id IN (
            SELECT id FROM shard_move WHERE generation = TG_ARGV[0]::int AND phase NOT IN ('done', 'abandoned')
            FOR UPDATE SKIP LOCKED
        );
    END IF;
    RETURN NULL;
END
$$;
