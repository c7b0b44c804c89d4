-- What Stripe told, and who said which customer is which tenant.

-- `due`: it was not looked at since it came, or since something changed that it waits for. `decides`: what its tenant is
-- depends on it, so that it is kept however old it is.
CREATE TABLE stripe_events (
    place        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           TEXT COLLATE "C" NOT NULL UNIQUE,
    kind         TEXT COLLATE "C" NOT NULL,
    created_ms   BIGINT NOT NULL,
    customer     TEXT COLLATE "C" NOT NULL,
    subscription TEXT COLLATE "C",
    body         TEXT NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    why          TEXT,
    tenant       TEXT COLLATE "C",
    received_ms  BIGINT NOT NULL,
    due          BIGINT NOT NULL,
    decides      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX stripe_events_of_customer ON stripe_events (customer, created_ms);
CREATE INDEX stripe_events_by_state ON stripe_events (state, place);
CREATE INDEX stripe_events_due ON stripe_events (received_ms) WHERE due = 1;
CREATE INDEX stripe_events_by_age ON stripe_events (received_ms) WHERE decides = 0;

-- One customer is one tenant's, and a tenant has one.
ALTER TABLE billing_customers ADD COLUMN by_call BIGINT NOT NULL DEFAULT 1;
DROP INDEX billing_customers_of_tenant;
CREATE UNIQUE INDEX billing_customers_of_tenant ON billing_customers (tenant);
