-- A plan's whole life: what is to become of a tenant, its add-ons, its grants, and what plans said in each version.

-- `due_ms`: the next instant at which something happens by itself; null: nothing does.
ALTER TABLE tenants
    ADD COLUMN addons TEXT NOT NULL DEFAULT '[]',
    ADD COLUMN tried TEXT NOT NULL DEFAULT '[]',
    ADD COLUMN due_ms BIGINT;
CREATE INDEX tenants_due ON tenants (due_ms, id) WHERE due_ms IS NOT NULL;

-- `life`: what belongs to the state, what is scheduled, and the like. `roll_ms`: no month's units are to be rolled over
-- before; `life` has the very instant.
ALTER TABLE subscriptions
    ADD COLUMN plan_version BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN life TEXT NOT NULL DEFAULT '{}',
    ADD COLUMN roll_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX subscriptions_by_plan ON subscriptions (plan, plan_version, tenant);
CREATE INDEX subscriptions_to_roll ON subscriptions (plan, roll_ms, tenant);

-- Every grant there was; `ended_ms` is null while it is in force.
CREATE TABLE grants (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         TEXT COLLATE "C" NOT NULL,
    number     BIGINT NOT NULL,
    meter      TEXT COLLATE "C" NOT NULL,
    units      BIGINT NOT NULL,
    priority   BIGINT NOT NULL,
    since_ms   BIGINT NOT NULL,
    expires_ms BIGINT,
    recurring  BIGINT NOT NULL,
    reason     TEXT,
    source     TEXT NOT NULL,
    ended_ms   BIGINT,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX grants_in_force ON grants (tenant) WHERE ended_ms IS NULL;
CREATE INDEX grants_by_number ON grants (tenant, number);

CREATE TABLE plan_versions (
    id            TEXT COLLATE "C" NOT NULL,
    version       BIGINT NOT NULL,
    terms         TEXT NOT NULL,
    introduced_ms BIGINT NOT NULL,
    PRIMARY KEY (id, version)
);
