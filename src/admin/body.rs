//! Request bodies: bounded in size and time, strict JSON, each error with its place.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};
use serde_path_to_error::{Path, Segment};

use super::{
    MAX_BODY,
    problem::{Code, Problem},
    strict::Strict,
};

/// Types under which a JSON body is taken: besides JSON's own those that clients send when nobody told them.
const TAKEN: [&str; 4] =
    ["application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];

fn refuse_other_types(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |what: &str| {
        Problem::new(Code::BodyUnsupported, format!("{what}: send the body as application/json"))
            .with_header(header::ACCEPT, "application/json")
    };
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let json = essence.starts_with("application/") && essence.ends_with("+json");
        if !json && !TAKEN.contains(&essence.as_str()) {
            return Err(refused(&format!("a body of type `{essence}` is not taken")));
        }
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(refused("an encoded body is not taken"))
        }
        _ => Ok(()),
    }
}

/// Reads a body whole.
pub(super) async fn read(headers: &HeaderMap, body: Body, within: Duration) -> Result<Bytes, Problem> {
    read_up_to(MAX_BODY, headers, body, within).await
}

/// Reads a body whole that has at most so many bytes.
pub(super) async fn read_up_to(
    most: usize,
    headers: &HeaderMap,
    body: Body,
    within: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("a body is at most {most} bytes long"));
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    refuse_other_types(headers)?;
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::BodyMalformed, "the body broke off")),
        Err(_) => Err(Problem::new(Code::BodyTimeout, format!("the body took longer than {within:?}"))),
    }
}

/// Reads a body as one JSON object. An empty body is the empty object.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let value = parse(bytes)?;
    if !value.is_object() {
        return Err(Problem::field(Code::FieldInvalid, "", "expected an object"));
    }
    serde_path_to_error::deserialize::<_, T>(value).map_err(|error| {
        let mut pointer = pointer(error.path());
        let text = error.inner().to_string();
        if let Some(name) = missing(&text) {
            pointer = format!("{pointer}/{name}");
        }
        Problem::field(Code::FieldInvalid, pointer, plain(text))
    })
}

/// Reads a body as any JSON in which no object names a field twice.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let malformed = |error: &serde_json::Error| {
        Problem::new(Code::BodyMalformed, format!("the body is not JSON: {error}"))
    };
    let value = serde_path_to_error::deserialize::<_, Strict>(&mut reader).map_err(|error| {
        match error.inner().classify() {
            Category::Data => {
                Problem::field(Code::FieldInvalid, pointer(error.path()), error.inner().to_string())
            }
            Category::Io | Category::Syntax | Category::Eof => malformed(error.inner()),
        }
    })?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value.0)
}

fn missing(text: &str) -> Option<&str> {
    text.strip_prefix("missing field `")?.strip_suffix('`')
}

/// A reader's message without the names of Rust's types.
fn plain(text: String) -> String {
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text };
    let expected = match expected {
        "i128" | "i64" | "u64" | "i32" | "u32" | "u16" | "u8" => "a whole number",
        other => other,
    };
    format!("{found}, expected {expected}")
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
    }
    pointer
}
