-- Times are microseconds since 1970. Ids are ordered byte by byte: by that order rows are locked.

CREATE TABLE product (
    id           TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    display_name TEXT   NOT NULL,
    description  TEXT   NOT NULL,
    currency     TEXT   NOT NULL,
    price        BIGINT NOT NULL CHECK (price > 0), -- in the currency's smallest unit
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    deleted_at   BIGINT,                            -- the row stays, so that the id stays taken
    version      BIGINT NOT NULL CHECK (version > 0)
);
CREATE INDEX product_for_sale ON product (created_at, id) WHERE deleted_at IS NULL;

-- I1: the numbers can't be anything else, whatever the code does.
CREATE TABLE stock (
    product    TEXT   COLLATE "C" NOT NULL PRIMARY KEY REFERENCES product (id),
    available  BIGINT NOT NULL CHECK (available >= 0),
    held       BIGINT NOT NULL CHECK (held >= 0),
    allocated  BIGINT NOT NULL CHECK (allocated >= 0),
    shipped    BIGINT NOT NULL CHECK (shipped >= 0),
    received   BIGINT NOT NULL CHECK (received BETWEEN 0 AND 1000000000000000),
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,                              -- of the product: who waits for this row must see it here
    CHECK (available + held + allocated + shipped = received),
    CHECK (deleted_at IS NULL OR held + allocated = 0)
);

-- Why a stock was corrected, and by whom. No foreign key: to check it would lock the product's row, which an update of the
-- product locks too; whoever writes here has changed the product's stock before.
CREATE TABLE stock_adjustment (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product TEXT   COLLATE "C" NOT NULL,
    delta   BIGINT NOT NULL CHECK (delta <> 0),
    reason  TEXT   NOT NULL,
    actor   TEXT   NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX stock_adjustment_product ON stock_adjustment (product, at);

CREATE TABLE reservation (
    order_id   TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    state      TEXT   NOT NULL
        CHECK (state IN ('HELD', 'ALLOCATED', 'SHIPPED', 'EXPIRED', 'RELEASED', 'REJECTED', 'TOMBSTONE')),
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version    BIGINT NOT NULL CHECK (version >= 0), -- of its last event; 0 when it has told nothing
    last_type  TEXT,                                  -- its last event, to be told again when the order asks
    last_data  BYTEA,
    CHECK ((version = 0) = (last_type IS NULL) AND (version = 0) = (last_data IS NULL)),
    CHECK (state <> 'HELD' OR expires_at IS NOT NULL)
);
CREATE INDEX reservation_newest ON reservation (created_at DESC, order_id DESC);
CREATE INDEX reservation_state ON reservation (state, created_at DESC, order_id DESC);
CREATE INDEX reservation_due ON reservation (expires_at) WHERE state = 'HELD';

CREATE TABLE reservation_line (
    order_id   TEXT   COLLATE "C" NOT NULL REFERENCES reservation (order_id),
    product    TEXT   COLLATE "C" NOT NULL, -- may be one that there never was: the reservation is rejected then
    quantity   BIGINT NOT NULL CHECK (quantity > 0),
    created_at BIGINT NOT NULL,             -- of the reservation, for lists of a product's reservations
    PRIMARY KEY (order_id, product)
);
CREATE INDEX reservation_line_product ON reservation_line (product, created_at DESC, order_id DESC);

-- Every movement of pieces. An order moves a product's pieces in one way once. No foreign key, as above.
CREATE TABLE stock_ledger (
    order_id   TEXT   COLLATE "C" NOT NULL,
    product    TEXT   COLLATE "C" NOT NULL,
    transition TEXT   NOT NULL,
    quantity   BIGINT NOT NULL CHECK (quantity > 0),
    at         BIGINT NOT NULL,
    PRIMARY KEY (order_id, product, transition)
);
