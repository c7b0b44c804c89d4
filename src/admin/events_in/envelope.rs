//! What a call brings: one CloudEvent, a batch of them, or one whose attributes are headers.

use http::{HeaderMap, header};
use serde_json::{Map, Value};

use super::super::{
    body,
    problem::{Code, Problem},
};

/// Events in one call.
const MOST: usize = 1_000;
const ATTRIBUTE: &str = "ce-";

/// The events of a call, whatever they are.
pub(super) fn open(headers: &HeaderMap, bytes: &[u8]) -> Result<Vec<Value>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !essence.starts_with("application/cloudevents") && headers.contains_key("ce-specversion") {
        return Ok(vec![in_headers(headers, &essence, bytes)?]);
    }
    let shape = |expected: &str| Problem::field(Code::FieldInvalid, "", expected);
    match (essence.as_str(), body::parse(bytes)?) {
        ("application/cloudevents-batch+json", Value::Array(events)) => few(events),
        ("application/cloudevents-batch+json", _) => Err(shape("expected a list of events")),
        (_, event @ Value::Object(_)) => Ok(vec![event]),
        ("application/cloudevents+json", _) => Err(shape("expected one event, as an object")),
        (_, Value::Array(events)) => few(events),
        _ => Err(shape("expected an event or a list of events")),
    }
}

fn few(events: Vec<Value>) -> Result<Vec<Value>, Problem> {
    if events.len() > MOST {
        let detail = format!("{} events: a call brings at most {MOST}", events.len());
        return Err(Problem::field(Code::ValueImpossible, "", detail));
    }
    Ok(events)
}

/// An event in binary mode: its attributes are headers, its data is the body.
fn in_headers(headers: &HeaderMap, essence: &str, bytes: &[u8]) -> Result<Value, Problem> {
    let mut event = Map::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(ATTRIBUTE) else { continue };
        let wrong = |what: &str| Problem::new(Code::HeaderInvalid, format!("{name}: {what}"));
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        let value = value.ok_or_else(|| wrong("expected visible characters, others percent-encoded"))?;
        if values.next().is_some() {
            return Err(wrong("given twice"));
        }
        let text = decoded(value).ok_or_else(|| wrong("not percent-encoded UTF-8"))?;
        event.insert(attribute.to_owned(), Value::String(text));
    }
    if !essence.is_empty() {
        event.insert("datacontenttype".to_owned(), Value::String(essence.to_owned()));
    }
    event.insert("data".to_owned(), body::parse(bytes)?);
    Ok(Value::Object(event))
}

/// Percent-encoded text as it was meant; `None`: it is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_percent_decoded() {
        assert_eq!(decoded("plain/%C3%A4%20b").as_deref(), Some("plain/\u{e4} b"));
        for broken in ["%", "%4", "%zz", "%ff", "a%c3"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
