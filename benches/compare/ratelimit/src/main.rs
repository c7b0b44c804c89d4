//! Envoy's rate-limit service, as small as it can be, over Limitador's library: counts each `key` in memory.
//!
//! Limitador's server is not published as a package, its library is. This is that library behind the same interface
//! (`envoy.service.ratelimit.v3.RateLimitService`), asked as the server asks it, without the server's metrics and logs.
//!
//! Usage: `compare-ratelimit ADDRESS LIMIT` (LIMIT units per key in 31 days).

mod message;
mod service;

use limitador::RateLimiter;
use limitador::limit::Limit;
use service::RateLimits;
use std::error::Error;
use std::net::SocketAddr;

/// The `domain` that Envoy's filter is configured with.
const DOMAIN: &str = "compare";
/// Keys that may be counted at a time.
const KEYS: u64 = 100_000;
const MONTH_SECONDS: u64 = 31 * 86_400;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(limit), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: compare-ratelimit ADDRESS LIMIT".into());
    };
    let address: SocketAddr = address.parse()?;
    let limiter = RateLimiter::new(KEYS);
    limiter.add_limit(Limit::new(
        DOMAIN,
        limit.parse()?,
        MONTH_SECONDS,
        [],
        ["descriptors[0].key".try_into()?],
    ));
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(RateLimits::new(limiter))
        .serve(address)
        .await?;
    Ok(())
}
