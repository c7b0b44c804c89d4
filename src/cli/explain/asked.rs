//! The request that is to be explained, as a person types it.

use http::{Method, Uri};

/// A request: a method and a path, with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
}

impl Asked {
    /// Reads `GET /v1/x`, `/v1/x` or a URL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (method, target) = match (words.next(), words.next(), words.next()) {
            (Some(target), None, _) => ("GET", target),
            (Some(method), Some(target), None) => (method, target),
            (None, ..) => return Err("no request is given: expected one such as \"GET /v1/x\"".to_owned()),
            _ => {
                return Err(format!(
                    "`{text}` is not a request: expected a method and a path such as \"GET /v1/x\"; a space in a path is \
                     written %20"
                ));
            }
        };
        Ok(Self { method: method_of(method)?, path: path_of(target)? })
    }
}

fn method_of(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    if upper != text && known.iter().any(|method| method.as_str() == upper) {
        return Err(format!("`{text}`: methods are upper case: did you mean \"{upper}\"?"));
    }
    if text.contains('/') {
        return Err(format!(
            "`{text}` is not a method: expected the method before the path, as in \"GET /v1/x\""
        ));
    }
    Method::from_bytes(text.as_bytes())
        .map(|method| method.to_string())
        .map_err(|_| format!("`{text}` is not an HTTP method: expected one such as GET"))
}

fn path_of(target: &str) -> Result<String, String> {
    if target.starts_with('/') {
        // As it is: what is wrong with it is part of the explanation.
        return Ok(target.to_owned());
    }
    let wrong = || format!("`{target}` is not a path: expected one that begins with `/`, or a URL");
    if !target.contains("://") {
        let known = Method::from_bytes(target.as_bytes())
            .is_ok_and(|_| target.bytes().all(|b| b.is_ascii_uppercase()));
        return Err(if known {
            format!("`{target}` has no path: expected \"{target} /v1/x\"")
        } else {
            wrong()
        });
    }
    let uri: Uri = target.split('#').next().unwrap_or_default().parse().map_err(|_| wrong())?;
    uri.path_and_query().map(|path| path.to_string()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let asked = Asked::parse(text).unwrap();
        (asked.method, asked.path)
    }

    #[test]
    fn requests_as_people_type_them() {
        for (text, method, path) in [
            ("GET /v1/x", "GET", "/v1/x"),
            ("  POST   /v1/x?a=1 ", "POST", "/v1/x?a=1"),
            ("/v1/x", "GET", "/v1/x"),
            ("PROPFIND /v1//x", "PROPFIND", "/v1//x"),
            ("https://api.example/v1/x?a=1#part", "GET", "/v1/x?a=1"),
            ("DELETE http://127.0.0.1:8080/v1/x", "DELETE", "/v1/x"),
            ("https://api.example", "GET", "/"),
        ] {
            assert_eq!(parsed(text), (method.to_owned(), path.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_request_says_what_was_expected() {
        for (text, said) in [
            ("", "no request is given"),
            ("get /v1/x", "did you mean \"GET\"?"),
            ("GET", "`GET` has no path"),
            ("v1/x", "begins with `/`"),
            ("GET v1/x", "begins with `/`"),
            ("/v1/x GET", "not a method"),
            ("GET /v1/a b", "%20"),
            ("GE(T /v1/x", "not an HTTP method"),
            ("https://", "is not a path"),
        ] {
            let error = Asked::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
