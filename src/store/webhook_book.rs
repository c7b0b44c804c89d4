//! What a change makes of an endpoint, and how endpoints are written down: the same for every store.

use serde_json::{Value, json};

use super::{
    altered::{Altered, between},
    classify::unreadable,
};
use crate::{
    domain::{
        event::EventKind,
        time::UnixMillis,
        webhook::{Disabled, Endpoint, MOST_ENDPOINTS, WebhookSecret},
    },
    ports::{Replay, StoreError, WebhookChange, WebhookCommand, WebhookDone, WebhookError},
};

/// Why an endpoint is disabled that an administrator has disabled.
const BY_HAND: &str = "disabled by an administrator";

/// The endpoint after a change; `None`: it is gone. `count` says how many there are.
pub(super) fn changed(
    before: Option<&Endpoint>,
    count: usize,
    command: &WebhookCommand,
    at: UnixMillis,
) -> Result<Option<Endpoint>, WebhookError> {
    if let WebhookChange::Create { url, description, events, secret } = &command.change {
        if count >= MOST_ENDPOINTS {
            return Err(WebhookError::Full);
        }
        return Ok(Some(Endpoint {
            id: command.id.clone(),
            url: url.clone(),
            description: description.clone(),
            events: events.clone(),
            secrets: vec![WebhookSecret { text: secret.clone(), created_at: at, expires_at: None }],
            created_at: at,
            disabled: None,
        }));
    }
    let mut endpoint = before.cloned().ok_or_else(|| WebhookError::Unknown(command.id.clone()))?;
    match &command.change {
        WebhookChange::Delete => return Ok(None),
        WebhookChange::Update { url, description, events, enabled } => {
            url.clone_into_some(&mut endpoint.url);
            description.clone_into_some(&mut endpoint.description);
            events.clone_into_some(&mut endpoint.events);
            match enabled {
                Some(true) => endpoint.disabled = None,
                Some(false) if endpoint.disabled.is_none() => {
                    endpoint.disabled = Some(Disabled { at, why: BY_HAND.to_owned() });
                }
                _ => {}
            }
        }
        WebhookChange::Rotate { secret, old_until } => endpoint.rotate(secret.clone(), at, *old_until)?,
        WebhookChange::Replay(_) if endpoint.disabled.is_some() => {
            return Err(WebhookError::Disabled(endpoint.id));
        }
        WebhookChange::Replay(_) | WebhookChange::Create { .. } => {}
    }
    Ok(Some(endpoint))
}

/// What is given takes the place of what was.
trait CloneIntoSome<T> {
    fn clone_into_some(&self, place: &mut T);
}

impl<T: Clone> CloneIntoSome<T> for Option<T> {
    fn clone_into_some(&self, place: &mut T) {
        if let Some(given) = self {
            place.clone_from(given);
        }
    }
}

/// A URL as the audit log and logs may show it: what follows the host may be secret.
pub(super) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        None => "...".to_owned(),
    }
}

/// What the audit log says of a change.
pub(super) fn detail(command: &WebhookCommand, deliveries: u64) -> Value {
    let words = |events: &[EventKind]| events.iter().map(|kind| kind.as_str()).collect::<Vec<_>>();
    let mut detail = match &command.change {
        WebhookChange::Create { url, description, events, .. } => {
            json!({ "url": shown(url), "description": description, "events": words(events) })
        }
        WebhookChange::Update { url, description, events, enabled } => json!({
            "url": url.as_deref().map(shown),
            "description": description,
            "events": events.as_deref().map(words),
            "enabled": enabled,
            "discarded": deliveries,
        }),
        WebhookChange::Delete => json!({}),
        WebhookChange::Rotate { old_until, .. } => json!({ "old_until": old_until.to_string() }),
        WebhookChange::Replay(Replay::One(event)) => json!({ "event": event, "deliveries": deliveries }),
        WebhookChange::Replay(Replay::Since(since)) => {
            json!({ "since": since.to_string(), "deliveries": deliveries })
        }
    };
    detail["webhook"] = json!(command.id.as_str());
    detail
}

/// What a change altered of an endpoint, for the audit log: never its secrets, nor what of its URL may be secret.
pub(super) fn altered(before: Option<&Endpoint>, after: Option<&Endpoint>) -> Altered {
    let facts = |endpoint: &Endpoint| {
        let secrets = endpoint.secrets.iter().map(|secret| {
            json!({ "created_at": secret.created_at.to_string(), "expires_at": secret.expires_at.map(|at| at.to_string()) })
        });
        json!({
            "url": shown(&endpoint.url),
            "description": endpoint.description,
            "events": endpoint.events.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
            "enabled": endpoint.disabled.is_none(),
            "disabled_reason": endpoint.disabled.as_ref().map(|disabled| disabled.why.as_str()),
            "secrets": secrets.collect::<Vec<_>>(),
        })
    };
    let side = |endpoint: Option<&Endpoint>| endpoint.map_or(Value::Null, facts);
    let mut altered = between(&side(before), &side(after));
    // Another path at the same host, which is not shown.
    if let (Some(before), Some(after)) = (before, after)
        && before.url != after.url
        && shown(&before.url) == shown(&after.url)
    {
        let url = |endpoint: &Endpoint, place: &str| json!(format!("{}/... ({place})", shown(&endpoint.url)));
        altered.before["url"] = url(before, "another");
        altered.after["url"] = url(after, "this");
    }
    altered
}

/// The audit log's word for an endpoint that wanted no more messages, and who says so.
pub(super) const DISABLED: (&str, &str, &str) = ("webhook.disabled", "system", "delivery");

/// What the audit log says of it.
pub(super) fn disabled_detail(webhook: &str, why: &str, discarded: u64) -> Value {
    json!({ "webhook": webhook, "why": why, "discarded": discarded })
}

/// What that altered.
pub(super) fn disabled_altered(why: &str) -> Altered {
    Altered {
        before: json!({ "enabled": true, "disabled_reason": null }),
        after: json!({ "enabled": false, "disabled_reason": why }),
    }
}

/// The outcome as it is kept beside an idempotency key.
pub(super) fn encode(done: &WebhookDone) -> String {
    format!("webhook:{}:{}", done.id, done.deliveries)
}

pub(super) fn decode(text: &str) -> Option<WebhookDone> {
    let (id, deliveries) = text.strip_prefix("webhook:")?.rsplit_once(':')?;
    Some(WebhookDone { id: id.parse().ok()?, deliveries: deliveries.parse().ok()?, replayed: true })
}

/// Kinds as their column holds them.
pub(super) fn encode_events(events: &[EventKind]) -> String {
    let words: String = events.iter().map(|kind| format!("{},", kind.as_str())).collect();
    if words.is_empty() { words } else { format!(",{words}") }
}

pub(super) fn decode_events(text: &str) -> Result<Vec<EventKind>, StoreError> {
    let words = text.split(',').filter(|word| !word.is_empty());
    let kind = |word: &str| {
        EventKind::named(word).ok_or_else(|| unreadable("a webhook's kinds", format!("`{word}`")))
    };
    words.map(kind).collect()
}

/// Secrets as their column holds them.
pub(super) fn encode_secrets(secrets: &[WebhookSecret]) -> String {
    let each = secrets.iter().map(|secret| {
        let expires = secret.expires_at.map(|at| at.0);
        json!({ "secret": secret.text, "created": secret.created_at.0, "expires": expires })
    });
    Value::Array(each.collect()).to_string()
}

pub(super) fn decode_secrets(text: &str) -> Result<Vec<WebhookSecret>, StoreError> {
    let wrong = |what: &str| unreadable("a webhook's secrets", what);
    let each: Vec<Value> = serde_json::from_str(text).map_err(|_| wrong("no JSON"))?;
    let read = |value: &Value| {
        Some(WebhookSecret {
            text: value.get("secret")?.as_str()?.to_owned(),
            created_at: UnixMillis(value.get("created")?.as_i64()?),
            expires_at: value.get("expires")?.as_i64().map(UnixMillis),
        })
    };
    each.iter().map(|value| read(value).ok_or_else(|| wrong("a field is missing"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for kinds in [vec![], vec![EventKind::PlanChanged], EventKind::ALL.to_vec()] {
            assert_eq!(decode_events(&encode_events(&kinds)).unwrap(), kinds);
        }
        assert!(decode_events(",nothing,").is_err());
        let secret = |expires_at| WebhookSecret { text: "s".into(), created_at: UnixMillis(1), expires_at };
        let secrets = vec![secret(None), secret(Some(UnixMillis(2)))];
        assert_eq!(decode_secrets(&encode_secrets(&secrets)).unwrap(), secrets);
        assert!(decode_secrets("[{}]").is_err());
        let done = WebhookDone { id: "wh_1".parse().unwrap(), deliveries: 3, replayed: true };
        assert_eq!(decode(&encode(&done)), Some(done));
        assert_eq!(decode("policy:1"), None);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        assert_eq!(shown("https://a.example:1/secret?x"), "https://a.example:1");
        assert_eq!(shown("https://a.example?x"), "https://a.example");
        assert_eq!(shown("secret"), "...");
        let change = WebhookChange::Create {
            url: "https://a.example/secret".into(),
            description: "d".into(),
            events: vec![EventKind::PlanChanged],
            secret: "whsec_secret".into(),
        };
        let command = WebhookCommand { id: "wh_1".parse().unwrap(), change };
        let text = detail(&command, 0).to_string();
        assert!(!text.contains("secret") && text.contains("plan.changed"), "{text}");
        let made = changed(None, 0, &command, UnixMillis(1)).unwrap();
        let other = Endpoint { url: "https://a.example/hidden".into(), ..made.clone().unwrap() };
        for (before, after) in [(None, made.as_ref()), (made.as_ref(), Some(&other)), (Some(&other), None)] {
            let Altered { before, after } = altered(before, after);
            assert_ne!(before, after);
            let text = format!("{before}{after}");
            assert!(
                !text.contains("/secret") && !text.contains("whsec") && !text.contains("hidden"),
                "{text}"
            );
        }
    }
}
