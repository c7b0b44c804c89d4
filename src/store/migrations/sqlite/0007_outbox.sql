-- Facts that are told outside, and whose customers a billing system's are.

-- `id` is made of the fact itself: told by two nodes it is one row. `body` is what is sent, byte for byte.
CREATE TABLE outbox (
    place  INTEGER PRIMARY KEY AUTOINCREMENT,
    id     TEXT NOT NULL UNIQUE,
    kind   TEXT NOT NULL,
    tenant TEXT NOT NULL,
    at_ms  INTEGER NOT NULL,
    body   TEXT NOT NULL
);
CREATE INDEX outbox_of_tenant ON outbox (tenant, place);
CREATE INDEX outbox_by_age ON outbox (at_ms);

CREATE TABLE billing_customers (
    customer TEXT PRIMARY KEY,
    tenant   TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    since_ms INTEGER NOT NULL
);
CREATE INDEX billing_customers_of_tenant ON billing_customers (tenant);
