CREATE TABLE account (
    id TEXT COLLATE "C" PRIMARY KEY,
    slot INT NOT NULL,
    balance BIGINT NOT NULL,
    note TEXT NOT NULL
);

CREATE INDEX account_slot ON account (slot, id);
