//! One CloudEvent: what it says, or what is wrong with it and where.

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::{super::instants, refusal::Refusal};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        time::UnixMillis,
        units::Units,
    },
    ports::{EventDigest, EventKey},
};

/// The longest source, id and type, in characters.
const LONGEST: usize = 255;
/// Meters in one event.
const MOST_METERS: usize = 20;

/// An event that makes sense by itself.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) key: EventKey,
    pub(super) digest: EventDigest,
    pub(super) tenant: TenantId,
    /// `None`: whenever it arrives.
    pub(super) at: Option<UnixMillis>,
    /// Each meter once, by name.
    pub(super) units: Vec<(MeterId, Units)>,
}

/// An event as far as it could be read.
#[derive(Debug)]
pub(super) struct Read {
    /// Its source and id, where they are texts, to tell which event an answer is about.
    pub(super) named: [Option<String>; 2],
    pub(super) told: Result<Told, Refusal>,
}

/// Reads an event.
pub(super) fn read(value: &Value) -> Read {
    let name = |name: &str| {
        let text = value.get(name)?.as_str()?;
        Some(text.chars().take(LONGEST).collect())
    };
    Read { named: [name("source"), name("id")], told: tell(value) }
}

fn tell(value: &Value) -> Result<Told, Refusal> {
    let event = value.as_object().ok_or_else(|| Refusal::invalid("", "expected an event, as an object"))?;
    if required(event, "specversion")? != "1.0" {
        return Err(Refusal::invalid("/specversion", "expected \"1.0\""));
    }
    let key = EventKey { source: short(event, "source")?, id: short(event, "id")? };
    let kind = short(event, "type")?;
    let subject = required(event, "subject")?;
    let tenant = TenantId::parse(subject).map_err(|error| Refusal::invalid("/subject", error.to_string()))?;
    let at = match event.get("time") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            Some(instants::instant(text).map_err(|detail| Refusal::invalid("/time", detail))?)
        }
        Some(_) => return Err(Refusal::invalid("/time", "expected an RFC 3339 instant, as a text")),
    };
    content_type(event)?;
    let units = data(event)?;
    let digest = digest(&kind, &tenant, at, &units);
    Ok(Told { key, digest, tenant, at, units })
}

/// Two events with one digest say the same. Other attributes, such as those of tracing, may differ.
fn digest(kind: &str, tenant: &TenantId, at: Option<UnixMillis>, units: &[(MeterId, Units)]) -> EventDigest {
    let units: Vec<Value> = units.iter().map(|(meter, units)| json!([meter.as_str(), units.get()])).collect();
    let content = json!([kind, tenant.as_str(), at.map(|at| at.0), units]).to_string();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, content.as_bytes()).as_ref());
    EventDigest(bytes)
}

fn required<'e>(event: &'e Map<String, Value>, name: &str) -> Result<&'e str, Refusal> {
    match event.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refusal::invalid(format!("/{name}"), "expected a text")),
        None => Err(Refusal::invalid(format!("/{name}"), format!("`{name}` is missing"))),
    }
}

fn short(event: &Map<String, Value>, name: &str) -> Result<String, Refusal> {
    let text = required(event, name)?;
    let fits = (1..=LONGEST).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let wrong = || format!("expected 1 to {LONGEST} characters without control characters");
    fits.then(|| text.to_owned()).ok_or_else(|| Refusal::invalid(format!("/{name}"), wrong()))
}

fn content_type(event: &Map<String, Value>) -> Result<(), Refusal> {
    if event.contains_key("data_base64") {
        return Err(Refusal::invalid("/data_base64", "expected `data`, as JSON"));
    }
    let essence = match event.get("datacontenttype") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::String(kind)) => kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        Some(_) => String::new(),
    };
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    Err(Refusal::invalid("/datacontenttype", "expected application/json"))
}

/// The units of each meter, by name.
fn data(event: &Map<String, Value>) -> Result<Vec<(MeterId, Units)>, Refusal> {
    let expected = "expected {\"meter\": NAME, \"units\": NUMBER} or {\"units\": {NAME: NUMBER}}";
    let Some(Value::Object(data)) = event.get("data") else {
        return Err(Refusal::invalid("/data", expected));
    };
    if let Some(unknown) = data.keys().find(|name| !["meter", "units"].contains(&name.as_str())) {
        return Err(Refusal::invalid(format!("/data/{}", escaped(unknown)), "there is no such field"));
    }
    match (data.get("meter"), data.get("units")) {
        (Some(Value::String(meter)), Some(units @ Value::Number(_))) => {
            Ok(vec![(meter_id(meter, "/data/meter")?, number(units, "/data/units")?)])
        }
        (None, Some(Value::Object(units))) => {
            if !(1..=MOST_METERS).contains(&units.len()) {
                let detail = format!("{} meters: expected 1 to {MOST_METERS}", units.len());
                return Err(Refusal::invalid("/data/units", detail));
            }
            let one = |(meter, units): (&String, &Value)| {
                let pointer = format!("/data/units/{}", escaped(meter));
                Ok((meter_id(meter, &pointer)?, number(units, &pointer)?))
            };
            let mut all = units.iter().map(one).collect::<Result<Vec<_>, Refusal>>()?;
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(all)
        }
        (_, None) => Err(Refusal::invalid("/data/units", "`units` is missing")),
        (_, Some(_)) => Err(Refusal::invalid("/data", expected)),
    }
}

fn meter_id(name: &str, pointer: &str) -> Result<MeterId, Refusal> {
    MeterId::parse(name).map_err(|error| Refusal::invalid(pointer, error.to_string()))
}

fn number(value: &Value, pointer: &str) -> Result<Units, Refusal> {
    let units = value.as_u64().and_then(|units| Units::new(units).ok());
    units.ok_or_else(|| {
        let shown: String = value.to_string().chars().take(40).collect();
        Refusal::invalid(pointer, format!("`{shown}`: expected a whole number from 0 to 2^53 - 1"))
    })
}

/// A name as a part of a JSON pointer, not longer than it need be.
fn escaped(name: &str) -> String {
    let name: String = name.chars().take(80).collect();
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "specversion": "1.0", "id": "e1", "source": "/shop", "type": "plangate.usage", "subject": "acme",
            "data": { "meter": "ai_tokens", "units": 12 },
        });
        change(&mut event);
        event
    }

    fn pointer(change: impl FnOnce(&mut Value)) -> String {
        let refusal = read(&event(change)).told.unwrap_err();
        assert_eq!(refusal.code, "event-invalid");
        refusal.pointer.unwrap()
    }

    #[test]
    fn an_event_is_read() {
        let told = read(&event(|event| event["time"] = json!("2026-11-22T11:00:00+01:00"))).told.unwrap();
        assert_eq!((told.key.source.as_str(), told.key.id.as_str()), ("/shop", "e1"));
        assert_eq!(told.tenant.as_str(), "acme");
        assert_eq!(told.at.unwrap().to_string(), "2026-11-22T10:00:00Z");
        let units =
            |told: &Told| told.units.iter().map(|(m, u)| (m.to_string(), u.get())).collect::<Vec<_>>();
        assert_eq!(units(&told), [("ai_tokens".to_owned(), 12)]);
        let both = json!({ "units": { "requests": 0, "ai_tokens": 9_007_199_254_740_991_u64 } });
        let told = read(&event(|event| event["data"] = both)).told.unwrap();
        assert_eq!(
            units(&told),
            [("ai_tokens".to_owned(), 9_007_199_254_740_991), ("requests".to_owned(), 0)]
        );
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        assert_eq!(read(&json!([1])).told.unwrap_err().pointer.as_deref(), Some(""));
        for (name, wrong) in [
            ("specversion", json!("0.3")),
            ("specversion", json!(1.0)),
            ("id", json!("")),
            ("id", json!(7)),
            ("source", json!("x".repeat(256))),
            ("source", json!("a\u{0}b")),
            ("type", json!("")),
            ("subject", json!("../acme")),
            ("subject", Value::Null),
            ("time", json!("yesterday")),
            ("time", json!(1_700_000_000)),
            ("time", json!("1999-01-01T00:00:00Z")),
            ("datacontenttype", json!("text/plain")),
            ("datacontenttype", json!(1)),
            ("data_base64", json!("aGk=")),
            ("data", json!("units")),
            ("data", json!({ "meter": 3, "units": 3 })),
            ("data", json!({ "meter": "requests", "units": { "requests": 3 } })),
        ] {
            assert_eq!(pointer(|event| event[name] = wrong.clone()), format!("/{name}"), "{name}: {wrong}");
        }
        for units in [json!(-1), json!(1.5), json!(12.0), json!(9_007_199_254_740_992_u64), json!(1e300)] {
            let data = json!({ "meter": "requests", "units": units });
            assert_eq!(pointer(|event| event["data"] = data), "/data/units", "{units}");
        }
        let many: Map<String, Value> = (0..21).map(|i| (format!("m{i}"), json!(1))).collect();
        for (data, place) in [
            (json!({}), "/data/units"),
            (json!({ "meter": "requests" }), "/data/units"),
            (json!({ "units": {} }), "/data/units"),
            (json!({ "units": many }), "/data/units"),
            (json!({ "units": { "a/b": 1 } }), "/data/units/a~1b"),
            (json!({ "units": { "requests": "1" } }), "/data/units/requests"),
            (json!({ "meter": "No", "units": 1 }), "/data/meter"),
            (json!({ "meter": "requests", "units": 1, "unit": "token" }), "/data/unit"),
        ] {
            assert_eq!(pointer(|event| event["data"] = data.clone()), place, "{data}");
        }
    }

    #[test]
    fn the_digest_is_of_what_is_charged() {
        let digest = |change: fn(&mut Value)| read(&event(change)).told.unwrap().digest;
        let plain = digest(|_| {});
        assert_eq!(digest(|event| event["traceparent"] = json!("00-1-2-01")), plain);
        assert_eq!(digest(|event| event["data"] = json!({ "units": { "ai_tokens": 12 } })), plain);
        assert_eq!(digest(|event| event["id"] = json!("another")), plain, "the key is not part of it");
        for other in [
            digest(|event| event["data"]["units"] = json!(13)),
            digest(|event| event["data"]["meter"] = json!("requests")),
            digest(|event| event["subject"] = json!("other")),
            digest(|event| event["type"] = json!("other")),
            digest(|event| event["time"] = json!("2026-11-22T10:00:00Z")),
        ] {
            assert_ne!(other, plain);
        }
    }
}
