-- Of what a bucket's tenant is warned, and that a trial ends.

-- `marks`: what is told while the bucket is used up, as its nodes reported last. `told_marks`: a bit for each that was told.
ALTER TABLE buckets ADD COLUMN marks TEXT;
ALTER TABLE buckets ADD COLUMN told_marks BIGINT NOT NULL DEFAULT 0;

-- When somebody is to be told of a tenant's trial that it is about to end; null: of none.
ALTER TABLE tenants ADD COLUMN notice_ms BIGINT;
UPDATE tenants SET notice_ms = (SELECT CAST(CAST(s.life AS json)->'trial'->>'ends_at' AS BIGINT) - 259200000 FROM subscriptions s
                                WHERE s.tenant = tenants.id AND s.state = 'trialing');
CREATE INDEX tenants_by_notice ON tenants (notice_ms) WHERE notice_ms IS NOT NULL;
