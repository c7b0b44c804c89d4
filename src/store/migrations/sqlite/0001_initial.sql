CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row. Bumped as the last lock of each changing transaction and held to its commit: versions have no gaps.
CREATE TABLE head (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
);
INSERT INTO head (one, version) VALUES (1, 0);

CREATE TABLE tenants (
    id         TEXT PRIMARY KEY,
    name       TEXT,
    zone       TEXT NOT NULL,
    suspended  INTEGER NOT NULL,
    overrides  TEXT NOT NULL,
    version    INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
);

CREATE TABLE subscriptions (
    tenant     TEXT PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    plan       TEXT NOT NULL,
    state      TEXT NOT NULL,
    anchor_day INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    since_ms   INTEGER NOT NULL
);

CREATE TABLE keys (
    id         TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    hash       BLOB NOT NULL UNIQUE,
    name       TEXT,
    expires_ms INTEGER,
    imported   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
);
CREATE INDEX keys_of_tenant ON keys (tenant, created_ms, id);

-- A bulk change shares one version, so the version alone is not the key.
CREATE TABLE changes (
    version INTEGER NOT NULL,
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (version, tenant, kind)
);

CREATE TABLE audit (
    place   INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    source  TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    detail  TEXT NOT NULL
);

CREATE TABLE idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    version     INTEGER NOT NULL,
    effect      TEXT NOT NULL,
    at_ms       INTEGER NOT NULL
);
CREATE INDEX idempotency_by_age ON idempotency (at_ms);

-- One row a name: a new run of a node takes the older one's place.
CREATE TABLE nodes (
    incarnation TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    applied     INTEGER NOT NULL,
    digest      TEXT NOT NULL,
    beat_ms     INTEGER NOT NULL
);

-- `limit_units` is null where nothing is refused. `allocated` is the sum of what the slots hold:
-- a sealed slot what it used, an open one what it was granted (or used, where nothing is granted).
CREATE TABLE buckets (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant          TEXT NOT NULL,
    meter           TEXT NOT NULL,
    span            TEXT NOT NULL,
    start_ms        INTEGER NOT NULL,
    epoch           INTEGER NOT NULL,
    end_ms          INTEGER NOT NULL,
    limit_units     INTEGER,
    allocated       INTEGER NOT NULL CHECK (allocated >= 0),
    used            INTEGER NOT NULL CHECK (used >= 0),
    wanted_until_ms INTEGER,
    UNIQUE (tenant, meter, span, start_ms, epoch)
);

-- Totals: they only grow.
CREATE TABLE slots (
    bucket_id   INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    granted     INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    refunded    INTEGER NOT NULL,
    sealed      INTEGER NOT NULL,
    PRIMARY KEY (bucket_id, incarnation, seq)
);

-- Signed: what was charged in one hour may be given back in the next.
CREATE TABLE usage_hours (
    tenant  TEXT NOT NULL,
    meter   TEXT NOT NULL,
    hour_ms INTEGER NOT NULL,
    units   INTEGER NOT NULL,
    PRIMARY KEY (tenant, meter, hour_ms)
);
