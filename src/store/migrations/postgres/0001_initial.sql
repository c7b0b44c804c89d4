-- Identifiers compare by bytes (COLLATE "C"), so that order and paging do not depend on the cluster's locale.

CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row. Bumped as the last lock of each changing transaction and held to its commit: versions have no gaps.
CREATE TABLE head (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
);
INSERT INTO head (one, version) VALUES (1, 0);

CREATE TABLE tenants (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT,
    zone       TEXT NOT NULL,
    suspended  BIGINT NOT NULL,
    overrides  TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE subscriptions (
    tenant     TEXT COLLATE "C" PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    plan       TEXT NOT NULL,
    state      TEXT NOT NULL,
    anchor_day BIGINT NOT NULL,
    epoch      BIGINT NOT NULL,
    since_ms   BIGINT NOT NULL
);

CREATE TABLE keys (
    id         TEXT COLLATE "C" PRIMARY KEY,
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    hash       BYTEA NOT NULL UNIQUE,
    name       TEXT,
    expires_ms BIGINT,
    imported   BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX keys_of_tenant ON keys (tenant, created_ms, id);

-- A bulk change shares one version, so the version alone is not the key.
CREATE TABLE changes (
    version BIGINT NOT NULL,
    tenant  TEXT COLLATE "C" NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    at_ms   BIGINT NOT NULL,
    PRIMARY KEY (version, tenant, kind)
);

CREATE TABLE audit (
    place   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version BIGINT NOT NULL,
    at_ms   BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    source  TEXT NOT NULL,
    tenant  TEXT COLLATE "C" NOT NULL,
    kind    TEXT NOT NULL,
    detail  TEXT NOT NULL
);

CREATE TABLE idempotency (
    key         TEXT COLLATE "C" PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    version     BIGINT NOT NULL,
    effect      TEXT NOT NULL,
    at_ms       BIGINT NOT NULL
);
CREATE INDEX idempotency_by_age ON idempotency (at_ms);

-- One row a name: a new run of a node takes the older one's place.
CREATE TABLE nodes (
    incarnation TEXT COLLATE "C" PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    applied     BIGINT NOT NULL,
    digest      TEXT NOT NULL,
    beat_ms     BIGINT NOT NULL
) WITH (fillfactor = 50);

-- `limit_units` is null where nothing is refused. `allocated` is the sum of what the slots hold:
-- a sealed slot what it used, an open one what it was granted (or used, where nothing is granted).
CREATE TABLE buckets (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          TEXT COLLATE "C" NOT NULL,
    meter           TEXT COLLATE "C" NOT NULL,
    span            TEXT COLLATE "C" NOT NULL,
    start_ms        BIGINT NOT NULL,
    epoch           BIGINT NOT NULL,
    end_ms          BIGINT NOT NULL,
    limit_units     BIGINT,
    allocated       BIGINT NOT NULL CHECK (allocated >= 0),
    used            BIGINT NOT NULL CHECK (used >= 0),
    wanted_until_ms BIGINT,
    UNIQUE (tenant, meter, span, start_ms, epoch)
) WITH (fillfactor = 80);

-- Totals: they only grow.
CREATE TABLE slots (
    bucket_id   BIGINT NOT NULL,
    incarnation TEXT COLLATE "C" NOT NULL,
    seq         BIGINT NOT NULL,
    granted     BIGINT NOT NULL,
    used        BIGINT NOT NULL,
    refunded    BIGINT NOT NULL,
    sealed      BIGINT NOT NULL,
    PRIMARY KEY (bucket_id, incarnation, seq)
) WITH (fillfactor = 80);

-- Signed: what was charged in one hour may be given back in the next.
CREATE TABLE usage_hours (
    tenant  TEXT COLLATE "C" NOT NULL,
    meter   TEXT COLLATE "C" NOT NULL,
    hour_ms BIGINT NOT NULL,
    units   BIGINT NOT NULL,
    PRIMARY KEY (tenant, meter, hour_ms)
) WITH (fillfactor = 80);
