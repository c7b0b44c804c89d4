//! The database: SQLite, PostgreSQL and, for tests, memory.
