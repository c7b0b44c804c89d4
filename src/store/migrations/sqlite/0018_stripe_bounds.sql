-- How many of Stripe's events were dropped although they waited, as their customers were nobody's for too long or were too
-- many; and when the last of them were.
CREATE TABLE stripe_dropped (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    events  INTEGER NOT NULL,
    last_ms INTEGER NOT NULL
);
CREATE INDEX stripe_events_deciding_by_age ON stripe_events (received_ms) WHERE decides = 1;
