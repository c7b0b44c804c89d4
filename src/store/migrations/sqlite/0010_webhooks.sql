-- Endpoints that facts are told to, and what has become of each message.

-- `events` is empty (all kinds), or the kinds with a comma before, between and after them.
CREATE TABLE webhooks (
    id           TEXT PRIMARY KEY,
    url          TEXT NOT NULL,
    description  TEXT NOT NULL,
    events       TEXT NOT NULL,
    secrets      TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    disabled_ms  INTEGER,
    disabled_why TEXT
);

-- Without references: facts are told while endpoints are changed, and neither waits for the other. What is claimed is due
-- again at `next_ms`, the end of the claim.
CREATE TABLE webhook_deliveries (
    place      INTEGER PRIMARY KEY AUTOINCREMENT,
    event      TEXT NOT NULL,
    webhook    TEXT NOT NULL,
    state      TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    since_ms   INTEGER NOT NULL,
    next_ms    INTEGER NOT NULL,
    claimed_by TEXT,
    ended_ms   INTEGER,
    UNIQUE (event, webhook)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, next_ms) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_webhook ON webhook_deliveries (webhook, place);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_ms);

CREATE TABLE webhook_attempts (
    webhook     TEXT NOT NULL,
    event       TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    status      INTEGER,
    error       TEXT,
    duration_ms INTEGER NOT NULL,
    answer      TEXT NOT NULL,
    PRIMARY KEY (webhook, event, attempt)
);
