-- Endpoints that facts are told to, and what has become of each message.

-- `events` is empty (all kinds), or the kinds with a comma before, between and after them.
CREATE TABLE webhooks (
    id           TEXT COLLATE "C" PRIMARY KEY,
    url          TEXT NOT NULL,
    description  TEXT NOT NULL,
    events       TEXT COLLATE "C" NOT NULL,
    secrets      TEXT NOT NULL,
    created_ms   BIGINT NOT NULL,
    disabled_ms  BIGINT,
    disabled_why TEXT
);

-- Without references: facts are told while endpoints are changed, and neither waits for the other. What is claimed is due
-- again at `next_ms`, the end of the claim.
CREATE TABLE webhook_deliveries (
    place      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event      TEXT COLLATE "C" NOT NULL,
    webhook    TEXT COLLATE "C" NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    attempts   BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    since_ms   BIGINT NOT NULL,
    next_ms    BIGINT NOT NULL,
    claimed_by TEXT COLLATE "C",
    ended_ms   BIGINT,
    UNIQUE (event, webhook)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, next_ms) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_webhook ON webhook_deliveries (webhook, place);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_ms);

CREATE TABLE webhook_attempts (
    webhook     TEXT COLLATE "C" NOT NULL,
    event       TEXT COLLATE "C" NOT NULL,
    attempt     BIGINT NOT NULL,
    at_ms       BIGINT NOT NULL,
    status      BIGINT,
    error       TEXT,
    duration_ms BIGINT NOT NULL,
    answer      TEXT NOT NULL,
    PRIMARY KEY (webhook, event, attempt)
);
