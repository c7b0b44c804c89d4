//! The one call of the service: charge the request's descriptors in the limiter and say whether they were within it.

use crate::message::{Code, Request, Response};
use limitador::RateLimiter;
use limitador::limit::Context;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::Poll;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

const CALL: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The service over one limiter.
#[derive(Clone)]
pub struct RateLimits(Arc<RateLimiter>);

impl RateLimits {
    pub fn new(limiter: RateLimiter) -> Self {
        Self(Arc::new(limiter))
    }

    fn charge(&self, request: Request) -> Result<Response, Status> {
        let descriptors: Vec<HashMap<String, String>> = request
            .descriptors
            .into_iter()
            .map(|descriptor| descriptor.entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
            .collect();
        let mut context = Context::default();
        context.list_binding("descriptors".to_owned(), descriptors);
        let units = u64::from(request.hits_addend.max(1));
        let checked = self
            .0
            .check_rate_limited_and_update(&request.domain.into(), &context, units)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let code = if checked.limited { Code::OverLimit } else { Code::Ok };
        Ok(Response { overall_code: code.into() })
    }
}

impl NamedService for RateLimits {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl UnaryService<Request> for RateLimits {
    type Response = Response;
    type Future = Ready<Result<tonic::Response<Response>, Status>>;

    fn call(&mut self, request: tonic::Request<Request>) -> Self::Future {
        ready(self.charge(request.into_inner()).map(tonic::Response::new))
    }
}

impl Service<http::Request<Body>> for RateLimits {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != CALL {
                return Ok(Status::unimplemented("no such call").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).unary(service, request).await)
        })
    }
}
