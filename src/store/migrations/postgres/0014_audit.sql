-- The audit log as a chain of hashes, and the tokens of the admin API.

CREATE TABLE audit_chain (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    -- The last line; at first where the chain starts, with what its first line follows.
    place        BIGINT NOT NULL,
    hash         TEXT COLLATE "C" NOT NULL,
    at_ms        BIGINT,
    -- Lines up to here are older than the chain.
    start        BIGINT NOT NULL,
    -- The last line that was tidied away.
    anchor_place BIGINT NOT NULL,
    anchor_hash  TEXT COLLATE "C" NOT NULL
);
INSERT INTO audit_chain (one, place, hash, start, anchor_place, anchor_hash)
    SELECT 1, o.place, repeat('0', 64), o.place, o.place, repeat('0', 64)
    FROM (SELECT greatest(coalesce((SELECT max(place) FROM audit), 0), CASE WHEN s.is_called THEN s.last_value ELSE 0 END)
          AS place FROM audit_place_seq AS s) AS o;

-- Places come from the chain: no gaps, and in its order.
ALTER TABLE audit ALTER COLUMN place DROP IDENTITY;
ALTER TABLE audit ADD COLUMN earlier TEXT;
ALTER TABLE audit ADD COLUMN later TEXT;
ALTER TABLE audit ADD COLUMN previous TEXT COLLATE "C";
ALTER TABLE audit ADD COLUMN hash TEXT COLLATE "C";
CREATE INDEX audit_of_tenant ON audit (tenant, place);

CREATE TABLE admin_tokens (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    role       TEXT COLLATE "C" NOT NULL,
    hash       BYTEA NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    used_ms    BIGINT
);
