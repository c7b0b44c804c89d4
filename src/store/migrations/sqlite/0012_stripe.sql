-- What Stripe told, and who said which customer is which tenant.

-- `due`: it was not looked at since it came, or since something changed that it waits for. `decides`: what its tenant is
-- depends on it, so that it is kept however old it is.
CREATE TABLE stripe_events (
    place        INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    customer     TEXT NOT NULL,
    subscription TEXT,
    body         TEXT NOT NULL,
    state        TEXT NOT NULL,
    why          TEXT,
    tenant       TEXT,
    received_ms  INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    decides      INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX stripe_events_of_customer ON stripe_events (customer, created_ms);
CREATE INDEX stripe_events_by_state ON stripe_events (state, place);
CREATE INDEX stripe_events_due ON stripe_events (received_ms) WHERE due = 1;
CREATE INDEX stripe_events_by_age ON stripe_events (received_ms) WHERE decides = 0;

-- One customer is one tenant's, and a tenant has one.
ALTER TABLE billing_customers ADD COLUMN by_call INTEGER NOT NULL DEFAULT 1;
DROP INDEX billing_customers_of_tenant;
CREATE UNIQUE INDEX billing_customers_of_tenant ON billing_customers (tenant);
