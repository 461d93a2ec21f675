-- Orders as lists show them. Everything here can be made again from the event store.

-- The view has versions: one is live, one may be building beside it, one may have been live before.
CREATE TABLE view_versions (
    version BIGINT NOT NULL PRIMARY KEY,
    state   TEXT   NOT NULL UNIQUE CHECK (state IN ('live', 'building', 'retired')),
    kept_at BIGINT NOT NULL -- building: when its builder was last heard of; live: held until; microseconds since 1970
);
INSERT INTO view_versions (version, state, kept_at) VALUES (1, 'live', 0);

CREATE TABLE orders (
    view_version BIGINT NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    customer     TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    n            BIGINT NOT NULL, -- the position of the last commit that changed it
    created_at   BIGINT NOT NULL, -- microseconds since 1970
    updated_at   BIGINT NOT NULL, -- microseconds since 1970
    body         TEXT   NOT NULL, -- the order as JSON
    PRIMARY KEY (view_version, id)
);
CREATE INDEX orders_by_time ON orders (view_version, created_at, id);
CREATE INDEX orders_by_customer ON orders (view_version, customer, created_at, id);
CREATE INDEX orders_by_state ON orders (view_version, state, created_at, id);
CREATE INDEX orders_by_customer_and_state ON orders (view_version, customer, state, created_at, id);
CREATE INDEX orders_waiting ON orders (view_version, updated_at) WHERE state = 'PENDING';

-- Orders whose history can't be followed any more, each with the reason; the others go on.
CREATE TABLE parked_orders (
    view_version BIGINT NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    n            BIGINT NOT NULL, -- the position of the commit that could not be applied
    reason       TEXT   NOT NULL,
    PRIMARY KEY (view_version, id)
);

-- How far a version has followed each partition of the event store.
CREATE TABLE checkpoints (
    view_version BIGINT NOT NULL,
    partition    BIGINT NOT NULL,
    n            BIGINT NOT NULL,
    PRIMARY KEY (view_version, partition)
);
