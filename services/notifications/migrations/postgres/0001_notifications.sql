-- Notifications. All times are microseconds since 1970.

CREATE TABLE notification (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order in which they were made
    id          TEXT   NOT NULL UNIQUE,
    event_id    TEXT   NOT NULL,
    template    TEXT   NOT NULL,
    recipient   TEXT   NOT NULL,
    about       TEXT   NOT NULL,
    occasion    TEXT   NOT NULL,           -- what the letter tells, as JSON
    subject     TEXT   NOT NULL,
    state       TEXT   NOT NULL CHECK (state IN ('PENDING', 'SENDING', 'SENT', 'FAILED')),
    reason      TEXT   NOT NULL,
    attempts    BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    lease_until BIGINT NOT NULL DEFAULT 0, -- until when a try that is under way has its letter for itself
    created_at  BIGINT NOT NULL,
    sent_at     BIGINT,
    ended_at    BIGINT NOT NULL DEFAULT 0, -- when it was sent or given up; 0 otherwise
    resent_at   BIGINT NOT NULL DEFAULT 0, -- when somebody last wanted it sent again; 0 for never
    UNIQUE (event_id, template, recipient) -- I14
);

CREATE INDEX notification_due ON notification (next_try_at, seq) WHERE state = 'PENDING';
CREATE INDEX notification_old ON notification (created_at, seq) WHERE state = 'PENDING';
CREATE INDEX notification_waiting ON notification (recipient, next_try_at, seq) WHERE state = 'PENDING';
-- A recipient whose letters are slow takes one place among those being sent, never all of them.
CREATE UNIQUE INDEX notification_sending ON notification (recipient) WHERE state = 'SENDING';
CREATE INDEX notification_lease ON notification (lease_until, seq) WHERE state = 'SENDING';
CREATE INDEX notification_ended ON notification (created_at, seq) WHERE state IN ('SENT', 'FAILED');
CREATE INDEX notification_recipient ON notification (recipient, seq);
CREATE INDEX notification_about ON notification (about, seq);
CREATE INDEX notification_state ON notification (state, seq);

-- Confirmed orders whose pieces aren't allocated yet: what their letters will tell.
CREATE TABLE order_note (
    order_name TEXT   NOT NULL PRIMARY KEY,
    customer   TEXT   NOT NULL,
    total      TEXT,                       -- the sum over its lines, as JSON
    noted_at   BIGINT NOT NULL
);
CREATE INDEX order_note_noted ON order_note (noted_at);

-- When the service began: nothing is mailed for what happened before.
CREATE TABLE notification_start (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL
);
INSERT INTO notification_start (id, at)
VALUES (1, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT));
