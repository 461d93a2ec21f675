-- Times are microseconds since 1970.

CREATE TABLE product (
    id           TEXT    NOT NULL PRIMARY KEY,
    display_name TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    currency     TEXT    NOT NULL,
    price        INTEGER NOT NULL CHECK (price > 0), -- in the currency's smallest unit
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    deleted_at   INTEGER,                            -- the row stays, so that the id stays taken
    version      INTEGER NOT NULL CHECK (version > 0)
) WITHOUT ROWID;
CREATE INDEX product_for_sale ON product (created_at, id) WHERE deleted_at IS NULL;

-- I1: the numbers can't be anything else, whatever the code does.
CREATE TABLE stock (
    product    TEXT    NOT NULL PRIMARY KEY REFERENCES product (id),
    available  INTEGER NOT NULL CHECK (available >= 0),
    held       INTEGER NOT NULL CHECK (held >= 0),
    allocated  INTEGER NOT NULL CHECK (allocated >= 0),
    shipped    INTEGER NOT NULL CHECK (shipped >= 0),
    received   INTEGER NOT NULL CHECK (received BETWEEN 0 AND 1000000000000000),
    updated_at INTEGER NOT NULL,
    CHECK (available + held + allocated + shipped = received)
) WITHOUT ROWID;

-- Why a stock was corrected, and by whom.
CREATE TABLE stock_adjustment (
    id      INTEGER PRIMARY KEY,
    product TEXT    NOT NULL REFERENCES product (id),
    delta   INTEGER NOT NULL CHECK (delta <> 0),
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL
);
CREATE INDEX stock_adjustment_product ON stock_adjustment (product, at);

CREATE TABLE reservation (
    order_id   TEXT    NOT NULL PRIMARY KEY,
    state      TEXT    NOT NULL
        CHECK (state IN ('HELD', 'ALLOCATED', 'SHIPPED', 'EXPIRED', 'RELEASED', 'REJECTED', 'TOMBSTONE')),
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version    INTEGER NOT NULL CHECK (version >= 0), -- of its last event; 0 when it has told nothing
    last_type  TEXT,                                  -- its last event, to be told again when the order asks
    last_data  BLOB,
    CHECK ((version = 0) = (last_type IS NULL) AND (version = 0) = (last_data IS NULL)),
    CHECK (state <> 'HELD' OR expires_at IS NOT NULL)
) WITHOUT ROWID;
CREATE INDEX reservation_newest ON reservation (created_at DESC, order_id DESC);
CREATE INDEX reservation_state ON reservation (state, created_at DESC, order_id DESC);
CREATE INDEX reservation_due ON reservation (expires_at) WHERE state = 'HELD';

CREATE TABLE reservation_line (
    order_id   TEXT    NOT NULL REFERENCES reservation (order_id) DEFERRABLE INITIALLY DEFERRED,
    product    TEXT    NOT NULL, -- may be one that there never was: the reservation is rejected then
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    created_at INTEGER NOT NULL, -- of the reservation, for lists of a product's reservations
    PRIMARY KEY (order_id, product)
) WITHOUT ROWID;
CREATE INDEX reservation_line_product ON reservation_line (product, created_at DESC, order_id DESC);

-- Every movement of pieces. An order moves a product's pieces in one way once.
CREATE TABLE stock_ledger (
    order_id   TEXT    NOT NULL,
    product    TEXT    NOT NULL REFERENCES product (id),
    transition TEXT    NOT NULL,
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    at         INTEGER NOT NULL,
    PRIMARY KEY (order_id, product, transition)
) WITHOUT ROWID;
