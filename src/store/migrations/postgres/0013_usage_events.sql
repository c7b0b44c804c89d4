-- Usage events that were charged: in the transaction that charged them, so that none is charged twice.

CREATE TABLE usage_events (
    source TEXT COLLATE "C" NOT NULL,
    id     TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    at_ms  BIGINT NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX usage_events_by_age ON usage_events (at_ms);
