-- What several nodes need: epochs, lost nodes, recall, windows that begin to count late, and usage by days.

ALTER TABLE head ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN epoch_since_ms INTEGER NOT NULL DEFAULT 0;

-- `owed`: a run with another ledger file was replaced before it had recorded its slots again.
ALTER TABLE nodes ADD COLUMN file TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN reasserted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN owed INTEGER NOT NULL DEFAULT 0;

-- Every run, also those that are over: whose slots these are.
CREATE TABLE incarnations (
    incarnation TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    started_ms  INTEGER NOT NULL
);
CREATE INDEX incarnations_of_name ON incarnations (name);
INSERT INTO incarnations (incarnation, name, started_ms) SELECT incarnation, name, beat_ms FROM nodes;

-- `opened_ms`: when it was opened last, or belonged to a registered node.
CREATE TABLE ledger_files (
    file      TEXT PRIMARY KEY,
    opens     INTEGER NOT NULL,
    opened_ms INTEGER NOT NULL
);

-- `allocated` and `used` include `seeded`: what was used in the window without being counted in it. `confirmed`: the
-- newest version of the tenant whose coming into force on all nodes was waited for.
ALTER TABLE buckets ADD COLUMN seeded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE buckets ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX buckets_wanted ON buckets (wanted_until_ms) WHERE wanted_until_ms IS NOT NULL;
CREATE INDEX buckets_by_end ON buckets (end_ms);

-- `since_ms`: the earliest report. `counted`: bits of the windows in which a month's charges were counted, too.
ALTER TABLE slots ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE slots ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE slots ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX slots_open ON slots (incarnation) WHERE sealed = 0;

-- Told apart by the counting's epoch; and how much of it was not counted in a window of each kind.
CREATE TABLE usage_by_hour (
    tenant  TEXT NOT NULL,
    meter   TEXT NOT NULL,
    hour_ms INTEGER NOT NULL,
    units   INTEGER NOT NULL,
    epoch   INTEGER NOT NULL DEFAULT 0,
    no_hour INTEGER NOT NULL DEFAULT 0,
    no_day  INTEGER NOT NULL DEFAULT 0,
    no_week INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, meter, hour_ms, epoch)
);
INSERT INTO usage_by_hour (tenant, meter, hour_ms, units) SELECT tenant, meter, hour_ms, units FROM usage_hours;
DROP TABLE usage_hours;
ALTER TABLE usage_by_hour RENAME TO usage_hours;
CREATE INDEX usage_hours_by_age ON usage_hours (hour_ms);

-- Hours that were rolled up, by the tenant's days as they were when that was done.
CREATE TABLE usage_days (
    tenant TEXT NOT NULL,
    meter  TEXT NOT NULL,
    day_ms INTEGER NOT NULL,
    units  INTEGER NOT NULL,
    PRIMARY KEY (tenant, meter, day_ms)
);
CREATE INDEX usage_days_by_age ON usage_days (day_ms);

-- A null tenant: it concerns none.
CREATE TABLE audit_log (
    place   INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    source  TEXT NOT NULL,
    tenant  TEXT,
    kind    TEXT NOT NULL,
    detail  TEXT NOT NULL
);
INSERT INTO audit_log (place, version, at_ms, actor, source, tenant, kind, detail)
    SELECT place, version, at_ms, actor, source, tenant, kind, detail FROM audit;
DROP TABLE audit;
ALTER TABLE audit_log RENAME TO audit;
CREATE INDEX audit_by_age ON audit (at_ms);
