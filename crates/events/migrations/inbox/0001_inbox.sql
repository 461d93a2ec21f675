CREATE TABLE inbox (
    consumer     TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    last_version INTEGER NOT NULL,
    PRIMARY KEY (consumer, subject)
) WITHOUT ROWID;
