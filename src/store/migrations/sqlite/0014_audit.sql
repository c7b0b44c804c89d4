-- The audit log as a chain of hashes, and the tokens of the admin API.

CREATE TABLE audit_chain (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    -- The last line; at first where the chain starts, with what its first line follows.
    place        INTEGER NOT NULL,
    hash         TEXT NOT NULL,
    at_ms        INTEGER,
    -- Lines up to here are older than the chain.
    start        INTEGER NOT NULL,
    -- The last line that was tidied away.
    anchor_place INTEGER NOT NULL,
    anchor_hash  TEXT NOT NULL
);
INSERT INTO audit_chain (one, place, hash, start, anchor_place, anchor_hash)
    SELECT 1, o.place, o.zeros, o.place, o.place, o.zeros
    FROM (SELECT max(coalesce((SELECT max(place) FROM audit), 0),
                     coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0)) AS place,
                 '0000000000000000000000000000000000000000000000000000000000000000' AS zeros) AS o;

-- Places come from the chain: no gaps, and in its order.
ALTER TABLE audit ADD COLUMN earlier TEXT;
ALTER TABLE audit ADD COLUMN later TEXT;
ALTER TABLE audit ADD COLUMN previous TEXT;
ALTER TABLE audit ADD COLUMN hash TEXT;
CREATE INDEX audit_of_tenant ON audit (tenant, place);

CREATE TABLE admin_tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    used_ms    INTEGER
);
