//! Configuration to adapters to pipeline to servers.
