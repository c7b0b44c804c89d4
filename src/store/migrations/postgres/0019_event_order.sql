-- In which order facts are read: by the numbers that they get once their transactions have ended.

-- `place` is taken while a fact is written, and so says nothing of when it can be seen. Null: it has no number yet.
ALTER TABLE outbox ADD COLUMN number BIGINT;
UPDATE outbox SET number = place;
CREATE UNIQUE INDEX outbox_by_number ON outbox (number);
CREATE INDEX outbox_without_number ON outbox (place) WHERE number IS NULL;
DROP INDEX outbox_of_tenant;
CREATE INDEX outbox_of_tenant ON outbox (tenant, number);

-- The last number that was given. Whoever gives numbers holds this row until its commit.
CREATE TABLE outbox_order (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last BIGINT NOT NULL
);
INSERT INTO outbox_order (one, last) SELECT 1, coalesce(max(place), 0) FROM outbox;
