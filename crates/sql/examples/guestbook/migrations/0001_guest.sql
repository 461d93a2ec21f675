CREATE TABLE guest (
    n         BIGINT NOT NULL PRIMARY KEY,
    name      TEXT   NOT NULL,
    signed_at BIGINT NOT NULL -- microseconds since 1970
);
