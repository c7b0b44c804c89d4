//! JSON shapes shared by the admin API and the database, and their way into the domain.
