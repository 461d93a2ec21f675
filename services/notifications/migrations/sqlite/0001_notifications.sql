CREATE TABLE notification (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were made
    id          TEXT    NOT NULL UNIQUE,
    event_id    TEXT    NOT NULL,
    template    TEXT    NOT NULL,
    recipient   TEXT    NOT NULL,
    about       TEXT    NOT NULL,
    occasion    TEXT    NOT NULL,                  -- what the letter tells, as JSON
    subject     TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('PENDING', 'SENDING', 'SENT', 'FAILED')),
    reason      TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    next_try_at INTEGER NOT NULL,                  -- microseconds since 1970, as are all times
    created_at  INTEGER NOT NULL,
    sent_at     INTEGER,
    UNIQUE (event_id, template, recipient)         -- I14
);

CREATE INDEX notification_due ON notification (next_try_at, seq) WHERE state = 'PENDING';
-- A recipient whose letters are slow takes one place among those being sent, never all of them.
CREATE UNIQUE INDEX notification_sending ON notification (recipient) WHERE state = 'SENDING';
CREATE INDEX notification_recipient ON notification (recipient, seq);
CREATE INDEX notification_about ON notification (about, seq);
CREATE INDEX notification_state ON notification (state, seq);
