//! Statements: what each billing period of a tenant comes to.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::civil::Date;
use serde_json::Value;

use super::{
    Shared,
    openapi::ReadErrors,
    params::{Params, PeriodPath, TenantPath},
    problem::{Code, Problem},
    statement_views::{StatementHeadView, StatementView},
    usage::wants_csv,
    views::Page,
};
use crate::{
    domain::{
        id::TenantId,
        period::Period,
        statement::{Timeline, name, reckon},
        tenant::Tenant,
        time::UnixMillis,
    },
    ports::ClosedStatement,
    wire::{
        statement::{Status, encode},
        statement_csv,
    },
};

/// Further than any period reaches beyond an instant that is in it.
const AHEAD: Duration = Duration::from_secs(100 * 86_400);
/// Periods that may wait for their statement: more than a database is ever away.
const MOST_WAITING: usize = 120;

/// Which period is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// The one that runs.
    Current,
    /// The one whose name begins so; the first day that it can begin on.
    Named(String, Date),
}

impl Asked {
    fn read(text: &str) -> Result<Self, Problem> {
        if text == "current" {
            return Ok(Self::Current);
        }
        // The second of two periods that begin on days of one name.
        let (day, number) = text.split_once('.').map_or((text, None), |(day, number)| (day, Some(number)));
        if let (Some(number), Ok(date)) = (number, day.parse())
            && day.len() == 10
            && matches!(number.as_bytes(), [b'2'..=b'9'])
        {
            return Ok(Self::Named(text.to_owned(), date));
        }
        let shaped = |length: usize| {
            let digits = text.bytes().enumerate().all(|(place, byte)| match place {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
            text.len() == length && digits
        };
        let named = if shaped(10) {
            text.parse().ok().map(|date| Self::Named(text.to_owned(), date))
        } else if shaped(7) {
            format!("{text}-01").parse().ok().map(|date| Self::Named(format!("{text}-"), date))
        } else {
            None
        };
        named.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let expected =
                "expected a period's first day such as 2026-11-15, a month such as 2026-11, or current";
            Problem::new(Code::PathInvalid, format!("`{shown}`: {expected}"))
        })
    }
}

/// In which form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

fn form(params: &mut Params, headers: &HeaderMap) -> Result<Form, Problem> {
    match params.take("format").as_deref() {
        Some("json") => Ok(Form::Json),
        Some("csv") => Ok(Form::Csv),
        Some(_) => Err(Problem::parameter("format", "expected json or csv")),
        None => Ok(if wants_csv(headers) { Form::Csv } else { Form::Json }),
    }
}

fn csv(statement: &Value) -> Response {
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    ([(header::CONTENT_TYPE, kind)], statement_csv::encode(statement)).into_response()
}

/// A closed one: its JSON is what was kept, byte for byte, and named by its digest.
fn closed(statement: ClosedStatement, form: Form, headers: &HeaderMap) -> Result<Response, Problem> {
    let tag = match form {
        Form::Json => format!("\"{}\"", statement.head.digest),
        Form::Csv => format!("\"{}.csv\"", statement.head.digest),
    };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged = known.flat_map(|list| list.split(',')).any(|one| one.trim() == tag);
    let mut response = match form {
        _ if unchanged => StatusCode::NOT_MODIFIED.into_response(),
        Form::Json => {
            let kind = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, kind)], statement.body).into_response()
        }
        Form::Csv => {
            let kept = serde_json::from_str(&statement.body);
            csv(&kept
                .map_err(|_| Problem::new(Code::Internal, "the statement that was kept cannot be read"))?)
        }
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn missing(id: &TenantId, text: &str) -> Problem {
    Problem::new(
        Code::StatementNotFound,
        format!(
            "tenant `{id}` has no billing period `{text}`; `GET /v1/tenants/{id}/statements` lists those that are closed"
        ),
    )
}

fn not_begun(text: &str) -> Problem {
    Problem::new(Code::ValueImpossible, format!("the period `{text}` has not begun"))
}

async fn find(shared: &Shared, id: &TenantId) -> Result<Tenant, Problem> {
    let found = shared.tenants.tenant(id).await?.value;
    found.ok_or_else(|| Problem::new(Code::TenantNotFound, format!("there is no tenant `{id}`")))
}

/// The period that is asked for among those that have begun and are not closed.
fn begun(timeline: &Timeline, from: UnixMillis, now: UnixMillis, wanted: &str) -> Option<Period> {
    let mut start = from;
    for _ in 0..MOST_WAITING {
        let period = timeline.period_from(start).filter(|period| period.start <= now)?;
        let zone = &timeline.at(start)?.tenant.zone;
        if name(start, zone).starts_with(wanted) {
            return Some(period).filter(|period| timeline.goes_on_at(period.start));
        }
        start = period.end;
    }
    None
}

/// Read the statement of a billing period.
///
/// That of the running period, and of one that has just ended, is reckoned anew by each call. A closed one never changes;
/// its `ETag` is the SHA-256 of its JSON.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/statements/{period}", tag = "usage",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("period" = String, Path, description = "The period's first day in the tenant's zone (`2026-11-15`), the month in which it begins (`2026-11`), or `current`"),
           ("format" = Option<String>, Query, description = "json or csv; by default what `Accept` asks for")),
    responses((status = 200, description = "The statement; as CSV its lines, then what was used, with the hours that make it up",
               content((StatementView = "application/json"), (String = "text/csv", example = "kind,item,meter"))),
              (status = 304, description = "As `If-None-Match` says, it is known"),
              (status = 422, description = "The period has not begun"),
              ReadErrors))]
pub(super) async fn get_statement(
    State(shared): State<Shared>,
    PeriodPath(id, text): PeriodPath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let form = form(&mut params, &headers)?;
    params.finish()?;
    let asked = Asked::read(&text)?;
    let tenant = find(&shared, &id).await?;
    if let Asked::Named(name, _) = &asked
        && let Some(found) = shared.statements.closed_statement(&id, name).await?
    {
        return closed(found, form, &headers);
    }
    let now = shared.clock.now();
    let open = open(&shared, &tenant, &asked, &text, now).await?;
    Ok(match form {
        Form::Json => Json(open).into_response(),
        Form::Csv => csv(&open),
    })
}

/// The statement of a period that is not closed, as it is now.
async fn open(
    shared: &Shared,
    tenant: &Tenant,
    asked: &Asked,
    text: &str,
    now: UnixMillis,
) -> Result<Value, Problem> {
    let id = &tenant.id;
    if let Asked::Named(_, date) = asked
        && tenant.zone.start_of_day(*date) > now
    {
        return Err(not_begun(text));
    }
    let from = match asked {
        Asked::Current => now,
        Asked::Named(..) => {
            shared.statements.next_to_close(id).await?.map_or(now, |next| next.start.min(now))
        }
    };
    // From before the period's start on, wherever that is.
    let back = i64::try_from(AHEAD.as_millis()).unwrap_or(0);
    let span = Period { start: UnixMillis(from.0.saturating_sub(back)), end: now + AHEAD };
    let timeline = shared.statements.timeline(tenant, span).await?.ok_or_else(|| missing(id, text))?;
    let period = match asked {
        Asked::Current => timeline.period_at(now).filter(|period| timeline.goes_on_at(period.start)),
        Asked::Named(wanted, date) => {
            let first = timeline.period_at(from).map_or(from, |period| period.start);
            let found = begun(&timeline, first, now, wanted);
            // A month that goes on may yet have one that begins in it.
            let month_goes_on = wanted.len() < 10 && tenant.zone.start_of_day(date.last_of_month()) > now;
            if found.is_none() && month_goes_on {
                return Err(not_begun(text));
            }
            found
        }
    };
    let period = period.ok_or_else(|| missing(id, text))?;
    let counted = shared.statements.counted(id, period, true).await?;
    let catalog = shared.policies.catalog();
    let statement = reckon(&timeline, catalog.of_tenant(id), period, &counted.buckets);
    let statement = statement.ok_or_else(|| missing(id, text))?;
    Ok(encode(&statement, Status::Open(now)))
}

/// List closed statements, the newest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/statements", tag = "usage",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("cursor" = Option<u64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page", body = Page<StatementHeadView, u64>), ReadErrors))]
pub(super) async fn list_statements(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    mut params: Params,
) -> Result<Json<Page<StatementHeadView, u64>>, Problem> {
    let limit = params.limit()?;
    let before = params.place("cursor")?;
    params.finish()?;
    find(&shared, &id).await?;
    let before = i64::try_from(before).ok().filter(|before| *before > 0).map(UnixMillis);
    let rows = shared.statements.closed_statements(&id, before, limit + 1).await?;
    let page = Page::cut(rows, limit, |head| head.period.start.0.unsigned_abs(), Into::into);
    Ok(Json(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_named_by_day_by_month_or_by_now() {
        let read = |text: &str| Asked::read(text).ok();
        assert_eq!(read("current"), Some(Asked::Current));
        let named = |text: &str| match read(text) {
            Some(Asked::Named(name, date)) => Some((name, date.to_string())),
            _ => None,
        };
        assert_eq!(named("2026-11-15"), Some(("2026-11-15".into(), "2026-11-15".into())));
        assert_eq!(named("2026-11"), Some(("2026-11-".into(), "2026-11-01".into())));
        assert_eq!(named("2026-01-16.2"), Some(("2026-01-16.2".into(), "2026-01-16".into())));
        for bad in [
            "",
            "2026-01-16.",
            "2026-01-16.1",
            "2026-01-16.22",
            "2026-01.2",
            "2026-1-016.2",
            "2026",
            "2026-13",
            "2026-02-30",
            "2026-1-01",
            "+026-11-15",
            "now",
            "2026-11-15T00",
            "é026-11",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
