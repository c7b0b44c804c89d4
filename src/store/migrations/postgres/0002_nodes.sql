-- What several nodes need: epochs, lost nodes, recall, windows that begin to count late, and usage by days.

-- The identity is the server's own, as it was when the epoch began; empty until the first start.
ALTER TABLE head
    ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN epoch_since_ms BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN system_id TEXT NOT NULL DEFAULT '',
    ADD COLUMN timeline TEXT NOT NULL DEFAULT '';

-- `owed`: a run with another ledger file was replaced before it had recorded its slots again.
ALTER TABLE nodes
    ADD COLUMN file TEXT NOT NULL DEFAULT '',
    ADD COLUMN reasserted BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN owed BIGINT NOT NULL DEFAULT 0;

-- Every run, also those that are over: whose slots these are.
CREATE TABLE incarnations (
    incarnation TEXT COLLATE "C" PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL,
    started_ms  BIGINT NOT NULL
);
CREATE INDEX incarnations_of_name ON incarnations (name);
INSERT INTO incarnations (incarnation, name, started_ms) SELECT incarnation, name, beat_ms FROM nodes;

-- `opened_ms`: when it was opened last, or belonged to a registered node.
CREATE TABLE ledger_files (
    file      TEXT COLLATE "C" PRIMARY KEY,
    opens     BIGINT NOT NULL,
    opened_ms BIGINT NOT NULL
);

-- `allocated` and `used` include `seeded`: what was used in the window without being counted in it. `confirmed`: the
-- newest version of the tenant whose coming into force on all nodes was waited for.
ALTER TABLE buckets
    ADD COLUMN seeded BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN confirmed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX buckets_wanted ON buckets (wanted_until_ms) WHERE wanted_until_ms IS NOT NULL;
CREATE INDEX buckets_by_end ON buckets (end_ms);

-- `since_ms`: the earliest report. `counted`: bits of the windows in which a month's charges were counted, too.
ALTER TABLE slots
    ADD COLUMN lost BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN since_ms BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN counted BIGINT NOT NULL DEFAULT 0;
CREATE INDEX slots_open ON slots (incarnation) WHERE sealed = 0;

-- Told apart by the counting's epoch; and how much of it was not counted in a window of each kind.
ALTER TABLE usage_hours
    ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN no_hour BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN no_day BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN no_week BIGINT NOT NULL DEFAULT 0,
    DROP CONSTRAINT usage_hours_pkey,
    ADD PRIMARY KEY (tenant, meter, hour_ms, epoch);
CREATE INDEX usage_hours_by_age ON usage_hours (hour_ms);

-- Hours that were rolled up, by the tenant's days as they were when that was done.
CREATE TABLE usage_days (
    tenant TEXT COLLATE "C" NOT NULL,
    meter  TEXT COLLATE "C" NOT NULL,
    day_ms BIGINT NOT NULL,
    units  BIGINT NOT NULL,
    PRIMARY KEY (tenant, meter, day_ms)
);
CREATE INDEX usage_days_by_age ON usage_days (day_ms);

-- Null: it concerns no tenant.
ALTER TABLE audit ALTER COLUMN tenant DROP NOT NULL;
CREATE INDEX audit_by_age ON audit (at_ms);
