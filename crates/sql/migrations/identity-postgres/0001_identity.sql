-- What this database is called by those who keep something of it elsewhere.
CREATE TABLE database_identity (
    one SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    id  TEXT     NOT NULL
);
