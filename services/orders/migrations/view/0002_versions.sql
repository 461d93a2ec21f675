-- The view has versions: one is live, one may be building beside it, one may have been live before.
CREATE TABLE view_versions (
    version INTEGER NOT NULL PRIMARY KEY,
    state   TEXT    NOT NULL UNIQUE CHECK (state IN ('live', 'building', 'retired')),
    kept_at INTEGER NOT NULL -- building: when its builder was last heard of; live: held until; microseconds since 1970
);
INSERT INTO view_versions (version, state, kept_at) VALUES (1, 'live', 0);

CREATE TABLE versioned_orders (
    view_version INTEGER NOT NULL,
    id           TEXT    NOT NULL,
    customer     TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    n            INTEGER NOT NULL, -- the position of the last commit that changed it; 0 when that isn't known
    created_at   INTEGER NOT NULL, -- microseconds since 1970
    updated_at   INTEGER NOT NULL, -- microseconds since 1970
    body         TEXT    NOT NULL, -- the order as JSON
    PRIMARY KEY (view_version, id)
);
INSERT INTO versioned_orders SELECT 1, id, customer, state, version, 0, created_at, updated_at, body FROM orders;
DROP TABLE orders;
ALTER TABLE versioned_orders RENAME TO orders;
CREATE INDEX orders_by_time ON orders (view_version, created_at, id);
CREATE INDEX orders_by_customer ON orders (view_version, customer, created_at, id);
CREATE INDEX orders_by_state ON orders (view_version, state, created_at, id);
CREATE INDEX orders_by_customer_and_state ON orders (view_version, customer, state, created_at, id);
CREATE INDEX orders_waiting ON orders (view_version, updated_at) WHERE state = 'PENDING';

CREATE TABLE versioned_parked_orders (
    view_version INTEGER NOT NULL,
    id           TEXT    NOT NULL,
    n            INTEGER NOT NULL, -- the position of the commit that could not be applied
    reason       TEXT    NOT NULL,
    PRIMARY KEY (view_version, id)
);
INSERT INTO versioned_parked_orders SELECT 1, id, 0, reason FROM parked_orders;
DROP TABLE parked_orders;
ALTER TABLE versioned_parked_orders RENAME TO parked_orders;

CREATE TABLE versioned_checkpoints (
    view_version INTEGER NOT NULL,
    partition    INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    PRIMARY KEY (view_version, partition)
);
INSERT INTO versioned_checkpoints SELECT 1, partition, n FROM checkpoints;
DROP TABLE checkpoints;
ALTER TABLE versioned_checkpoints RENAME TO checkpoints;
