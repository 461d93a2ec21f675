CREATE TABLE inbox (
    consumer     TEXT   NOT NULL,
    subject      TEXT   COLLATE "C" NOT NULL,
    last_version BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL, -- when the aggregate was last heard of; microseconds since 1970
    PRIMARY KEY (consumer, subject)
);
CREATE INDEX inbox_seen ON inbox (seen_at);
