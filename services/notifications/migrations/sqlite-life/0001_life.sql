-- What came after the first release. It must leave alone what that release reads and writes: it knows nothing of this.

-- Until when a try that is under way has its letter for itself; 0: for no time. Microseconds since 1970, as are all times.
ALTER TABLE notification ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;
-- When it was sent or given up; 0 otherwise, and where that release has done it.
ALTER TABLE notification ADD COLUMN ended_at INTEGER NOT NULL DEFAULT 0;
-- When somebody last wanted it sent again; 0 for never, and where that release has done it.
ALTER TABLE notification ADD COLUMN resent_at INTEGER NOT NULL DEFAULT 0;

CREATE INDEX notification_lease ON notification (lease_until, seq) WHERE state = 'SENDING';
CREATE INDEX notification_old ON notification (created_at, seq) WHERE state = 'PENDING';
CREATE INDEX notification_waiting ON notification (recipient, next_try_at, seq) WHERE state = 'PENDING';
CREATE INDEX notification_ended ON notification (created_at, seq) WHERE state IN ('SENT', 'FAILED');

-- Confirmed orders whose pieces aren't allocated yet: what their letters will tell.
CREATE TABLE order_note (
    order_name TEXT    NOT NULL PRIMARY KEY,
    customer   TEXT    NOT NULL,
    total      TEXT,                -- the sum over its lines, as JSON
    noted_at   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX order_note_noted ON order_note (noted_at);

-- When the service began: nothing is mailed for what happened before. One that has written letters already began with them.
CREATE TABLE notification_start (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
);
INSERT INTO notification_start (id, at)
SELECT 1, CASE WHEN EXISTS (SELECT 1 FROM notification) THEN 0 ELSE CAST(unixepoch('subsec') * 1000000 AS INTEGER) END;
