-- Usage events that were charged: in the transaction that charged them, so that none is charged twice.

CREATE TABLE usage_events (
    source TEXT NOT NULL,
    id     TEXT NOT NULL,
    digest TEXT NOT NULL,
    tenant TEXT NOT NULL,
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
CREATE INDEX usage_events_by_age ON usage_events (at_ms);
