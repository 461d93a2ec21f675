-- Orders as lists show them. Everything here can be made again from the event store.
CREATE TABLE orders (
    id         TEXT    NOT NULL PRIMARY KEY,
    customer   TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- microseconds since 1970
    updated_at INTEGER NOT NULL, -- microseconds since 1970
    body       TEXT    NOT NULL  -- the order as JSON
);
CREATE INDEX orders_by_time ON orders (created_at, id);
CREATE INDEX orders_by_customer ON orders (customer, created_at, id);
CREATE INDEX orders_by_state ON orders (state, created_at, id);
CREATE INDEX orders_by_customer_and_state ON orders (customer, state, created_at, id);
CREATE INDEX orders_waiting ON orders (updated_at) WHERE state = 'PENDING';

-- Orders whose history can't be followed any more, each with the reason; the others go on.
CREATE TABLE parked_orders (
    id      TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    reason  TEXT    NOT NULL
);

-- How far the view has followed each partition of the event store.
CREATE TABLE checkpoints (
    partition INTEGER NOT NULL PRIMARY KEY,
    n         INTEGER NOT NULL
);
