-- A piece that was tried and is withdrawn before it is known whether the billing system has it is `doubtful`: it is sent
-- once more before it is taken back.
DROP INDEX meter_exports_due;
CREATE INDEX meter_exports_due ON meter_exports (next_ms) WHERE state IN ('waiting', 'doubtful', 'withdrawing');
