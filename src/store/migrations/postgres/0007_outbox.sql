-- Facts that are told outside, and whose customers a billing system's are.

-- `id` is made of the fact itself: told by two nodes it is one row. `body` is what is sent, byte for byte.
CREATE TABLE outbox (
    place  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id     TEXT COLLATE "C" NOT NULL UNIQUE,
    kind   TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    at_ms  BIGINT NOT NULL,
    body   TEXT NOT NULL
);
CREATE INDEX outbox_of_tenant ON outbox (tenant, place);
CREATE INDEX outbox_by_age ON outbox (at_ms);

CREATE TABLE billing_customers (
    customer TEXT COLLATE "C" PRIMARY KEY,
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    since_ms BIGINT NOT NULL
);
CREATE INDEX billing_customers_of_tenant ON billing_customers (tenant);
