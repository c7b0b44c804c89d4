-- What tells tenants apart, such as their region: a JSON object.

ALTER TABLE tenants ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
