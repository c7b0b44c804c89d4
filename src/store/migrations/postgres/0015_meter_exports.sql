-- Usage that is told to a billing system.

-- Of each bucket: how many units the pieces of it come to, and how many were seen to be used at an earlier look.
CREATE TABLE bucket_exports (
    bucket_id BIGINT PRIMARY KEY,
    told      BIGINT NOT NULL,
    pieces    BIGINT NOT NULL,
    seen      BIGINT NOT NULL,
    seen_ms   BIGINT NOT NULL
);

CREATE TABLE meter_exports (
    place      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         TEXT COLLATE "C" NOT NULL UNIQUE,
    bucket_id  BIGINT NOT NULL,
    piece      BIGINT NOT NULL,
    tenant     TEXT COLLATE "C" NOT NULL,
    customer   TEXT COLLATE "C" NOT NULL,
    meter      TEXT COLLATE "C" NOT NULL,
    event_name TEXT NOT NULL,
    units      BIGINT NOT NULL,
    at_ms      BIGINT NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    first_ms   BIGINT,
    next_ms    BIGINT NOT NULL,
    error      TEXT,
    UNIQUE (bucket_id, piece)
);
CREATE INDEX meter_exports_due ON meter_exports (next_ms) WHERE state IN ('waiting', 'withdrawing');
