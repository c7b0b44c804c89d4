//! The judgement of an HTTP/2 request, the same as of an HTTP/1 head as far as the two compare.

use ::http::{
    Method, Request,
    header::{CONTENT_LENGTH, COOKIE, HOST},
};

use crate::http::{head, host};
use crate::pipeline::{faults::Malformed, request::HeadRefusal};

/// What HPACK counts for each field beside its bytes.
const FIELD_OVERHEAD: usize = 32;

/// Why the request is refused; `cap` is of the whole head.
pub(super) fn refusal<B>(request: &Request<B>, cap: usize) -> Option<HeadRefusal> {
    judge(request, cap).err()
}

fn judge<B>(request: &Request<B>, cap: usize) -> Result<(), HeadRefusal> {
    let malformed = |why| Err(HeadRefusal::Malformed(why));
    let headers = request.headers();
    let size: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum();
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    // A browser may split its cookies over any number of fields.
    let fields = headers.iter().filter(|(name, _)| *name != COOKIE).count();
    if size + target.len() > cap || fields > head::MAX_FIELDS {
        return Err(HeadRefusal::TooLarge);
    }
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return malformed(Malformed::MethodNotServed);
    }
    head::judge_target(target.as_bytes())?;
    let mut hosts = headers.get_all(HOST).iter();
    let (named, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return malformed(Malformed::ManyHosts);
    }
    let host = match (request.uri().authority(), named) {
        (None, None) => return malformed(Malformed::NoAuthority),
        (Some(authority), Some(named)) if authority.as_str().as_bytes() != named.as_bytes() => {
            return malformed(Malformed::TwoAuthorities);
        }
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(named)) => named.as_bytes(),
    };
    if !host::is_valid(host) {
        return malformed(Malformed::Host);
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return malformed(Malformed::ManyLengths);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        build: impl FnOnce(::http::request::Builder) -> ::http::request::Builder,
    ) -> Option<HeadRefusal> {
        refusal(&build(Request::builder()).body(()).unwrap(), 1000)
    }

    #[test]
    fn the_same_rules_as_for_http1() {
        assert_eq!(judged(|r| r.uri("http://h/x")), None);
        assert_eq!(judged(|r| r.uri("http://h/x").header("host", "h")), None);
        assert_eq!(judged(|r| r.uri("/x").header("host", "h:1")), None);
        let malformed =
            |r: Option<HeadRefusal>| assert!(matches!(r, Some(HeadRefusal::Malformed(_))), "{r:?}");
        malformed(judged(|r| r.uri("/x")));
        malformed(judged(|r| r.uri("http://h/x").header("host", "i")));
        malformed(judged(|r| r.uri("http://u@h/x")));
        malformed(judged(|r| r.uri("http://h/x").header("host", "h").header("host", "h")));
        malformed(judged(|r| r.uri("http://h/x").method("TRACE")));
        malformed(judged(|r| r.uri("h:80").method("CONNECT")));
        malformed(judged(|r| r.uri("http://h/").header("content-length", "1").header("content-length", "1")));
        assert!(matches!(
            judged(|r| r.uri("*").method("OPTIONS").header("host", "h")),
            Some(HeadRefusal::AmbiguousPath(_))
        ));
        assert_eq!(judged(|r| r.uri("http://h/").header("x", "y".repeat(1000))), Some(HeadRefusal::TooLarge));
        let many = |name: &'static str| {
            refusal(
                &(0..101)
                    .fold(Request::builder().uri("http://h/"), |r, _| r.header(name, "a"))
                    .body(())
                    .unwrap(),
                10_000,
            )
        };
        assert_eq!(many("x"), Some(HeadRefusal::TooLarge));
        assert_eq!(many("cookie"), None);
    }
}
