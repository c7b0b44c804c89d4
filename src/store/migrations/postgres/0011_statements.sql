-- What tenants were billed by and since when, what was used of each bucket in which hour, and closed statements.

-- An entry for each instant at which what a tenant is billed by changed. `facts` is what it was from then on.
CREATE TABLE billing_facts (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    version  BIGINT NOT NULL,
    step     BIGINT NOT NULL,
    since_ms BIGINT NOT NULL,
    facts    TEXT NOT NULL,
    PRIMARY KEY (tenant, version, step)
);
CREATE INDEX billing_facts_by_time ON billing_facts (tenant, since_ms);

-- The billing period that is to be closed next. 0: it is not known yet; null: the subscription is over, and all is closed.
ALTER TABLE subscriptions
    ADD COLUMN bills_from_ms BIGINT DEFAULT 0,
    ADD COLUMN bills_until_ms BIGINT DEFAULT 0;
CREATE INDEX subscriptions_to_close ON subscriptions (bills_until_ms, tenant) WHERE bills_until_ms IS NOT NULL;

-- Together always the bucket's `used`. Signed: what was charged in one hour may be given back in the next. `hour_ms` is
-- within the bucket's span.
CREATE TABLE bucket_hours (
    bucket_id BIGINT NOT NULL,
    hour_ms   BIGINT NOT NULL,
    units     BIGINT NOT NULL,
    PRIMARY KEY (bucket_id, hour_ms)
) WITH (fillfactor = 80);
-- What was recorded before is not known by the hour.
INSERT INTO bucket_hours (bucket_id, hour_ms, units)
    SELECT id, start_ms, used FROM buckets WHERE span IN ('month', 'overage', 'grant') AND used > 0;

-- Rows are made and never changed. `name`: the period's first day in the tenant's zone of that time.
CREATE TABLE statements (
    tenant    TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    start_ms  BIGINT NOT NULL,
    end_ms    BIGINT NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    currency  TEXT,
    total     TEXT NOT NULL,
    closed_ms BIGINT NOT NULL,
    digest    TEXT NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (tenant, start_ms)
);
