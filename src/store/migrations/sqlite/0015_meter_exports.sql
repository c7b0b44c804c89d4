-- Usage that is told to a billing system.

-- Of each bucket: how many units the pieces of it come to, and how many were seen to be used at an earlier look.
CREATE TABLE bucket_exports (
    bucket_id INTEGER PRIMARY KEY,
    told      INTEGER NOT NULL,
    pieces    INTEGER NOT NULL,
    seen      INTEGER NOT NULL,
    seen_ms   INTEGER NOT NULL
);

CREATE TABLE meter_exports (
    place      INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    bucket_id  INTEGER NOT NULL,
    piece      INTEGER NOT NULL,
    tenant     TEXT NOT NULL,
    customer   TEXT NOT NULL,
    meter      TEXT NOT NULL,
    event_name TEXT NOT NULL,
    units      INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    state      TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    first_ms   INTEGER,
    next_ms    INTEGER NOT NULL,
    error      TEXT,
    UNIQUE (bucket_id, piece)
);
CREATE INDEX meter_exports_due ON meter_exports (next_ms) WHERE state IN ('waiting', 'withdrawing');
