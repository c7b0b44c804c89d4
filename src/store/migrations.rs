//! The schema's history. An entry that was released is never changed: sqlx compares checksums.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("migrations/postgres/0001_initial.sql")),
    (2, "nodes", include_str!("migrations/postgres/0002_nodes.sql")),
    (3, "life", include_str!("migrations/postgres/0003_life.sql")),
    (4, "attributes", include_str!("migrations/postgres/0004_attributes.sql")),
    (5, "revisions", include_str!("migrations/postgres/0005_revisions.sql")),
    (6, "shadow", include_str!("migrations/postgres/0006_shadow.sql")),
    (7, "outbox", include_str!("migrations/postgres/0007_outbox.sql")),
    (9, "warnings", include_str!("migrations/postgres/0009_warnings.sql")),
    (10, "webhooks", include_str!("migrations/postgres/0010_webhooks.sql")),
    (11, "statements", include_str!("migrations/postgres/0011_statements.sql")),
    (12, "stripe", include_str!("migrations/postgres/0012_stripe.sql")),
    (13, "usage_events", include_str!("migrations/postgres/0013_usage_events.sql")),
    (14, "audit", include_str!("migrations/postgres/0014_audit.sql")),
    (15, "meter_exports", include_str!("migrations/postgres/0015_meter_exports.sql")),
    (18, "stripe_bounds", include_str!("migrations/postgres/0018_stripe_bounds.sql")),
    // SQLite needs none: it has one writer at a time.
    (19, "event_order", include_str!("migrations/postgres/0019_event_order.sql")),
    (20, "sold_terms", include_str!("migrations/postgres/0020_sold_terms.sql")),
];
const SQLITE: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("migrations/sqlite/0001_initial.sql")),
    (2, "nodes", include_str!("migrations/sqlite/0002_nodes.sql")),
    (3, "life", include_str!("migrations/sqlite/0003_life.sql")),
    (4, "attributes", include_str!("migrations/sqlite/0004_attributes.sql")),
    (5, "revisions", include_str!("migrations/sqlite/0005_revisions.sql")),
    (6, "shadow", include_str!("migrations/sqlite/0006_shadow.sql")),
    (7, "outbox", include_str!("migrations/sqlite/0007_outbox.sql")),
    (9, "warnings", include_str!("migrations/sqlite/0009_warnings.sql")),
    (10, "webhooks", include_str!("migrations/sqlite/0010_webhooks.sql")),
    (11, "statements", include_str!("migrations/sqlite/0011_statements.sql")),
    (12, "stripe", include_str!("migrations/sqlite/0012_stripe.sql")),
    (13, "usage_events", include_str!("migrations/sqlite/0013_usage_events.sql")),
    (14, "audit", include_str!("migrations/sqlite/0014_audit.sql")),
    (15, "meter_exports", include_str!("migrations/sqlite/0015_meter_exports.sql")),
    (18, "stripe_bounds", include_str!("migrations/sqlite/0018_stripe_bounds.sql")),
    (20, "sold_terms", include_str!("migrations/sqlite/0020_sold_terms.sql")),
];

/// PostgreSQL's.
pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

/// SQLite's.
pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

fn migrator(entries: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, (*sql).into_sql_str(), false)
    };
    Migrator::with_migrations(entries.iter().map(migration).collect())
}
