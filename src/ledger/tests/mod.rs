//! Tests of the ledger, over a store in memory.

mod burn_order;
mod changes;
mod elsewhere;
mod file;
mod quotas;
mod random;
mod recall;
mod recording;
mod recovering;
mod sources;
mod spending;
mod store;
mod tabs;
mod threads;
mod warnings;
mod word;
mod world;
