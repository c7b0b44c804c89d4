//! The ledger: quota words in memory, granted by the database.
