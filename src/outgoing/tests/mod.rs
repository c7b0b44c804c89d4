//! Tests of requests to others and of deliveries.

mod dispatching;
mod guarding;
mod talking;
