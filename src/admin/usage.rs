//! What a tenant has used, by meter and span of time.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared, instants,
    openapi::ReadErrors,
    params::{Params, TenantPath},
    problem::{Code, Problem},
};
use crate::{
    domain::{
        period::{AnchorDay, BillingCalendar, Period, Window},
        tenant::Tenant,
        time::UnixMillis,
        units::Units,
    },
    ports::UsageRow,
};

/// The longest span of one answer.
const LONGEST_DAYS: i64 = 400;
const HOUR: i64 = 3_600_000;

/// What a tenant has used.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(super) struct UsageView {
    /// The tenant's id.
    tenant: String,
    /// The span's start; it is in it.
    from: String,
    /// The span's end; it is not in it.
    to: String,
    /// `hour`, `day` or `month`.
    bucket: &'static str,
    /// Rows with units only, by meter, then oldest first.
    rows: Vec<UsageRowView>,
}

/// Units of one meter in one span of time.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageRow)]
pub(super) struct UsageRowView {
    /// The meter.
    meter: String,
    /// The span's start.
    start: String,
    /// The span's end.
    end: String,
    /// Units used in it.
    units: u64,
}

/// Months are the tenant's billing months; without a subscription those of the calendar.
fn calendar(tenant: &Tenant) -> Option<BillingCalendar> {
    let anchor = match &tenant.subscription {
        Some(subscription) => subscription.anchor,
        None => AnchorDay::new(1).ok()?,
    };
    Some(BillingCalendar { zone: tenant.zone.clone(), anchor })
}

fn span(params: &mut Params, calendar: &BillingCalendar, now: UnixMillis) -> Result<Period, Problem> {
    let mut read = |name: &str| {
        let Some(text) = params.take(name) else { return Ok(None) };
        instants::instant_or_day(&text, &calendar.zone)
            .map(Some)
            .map_err(|detail| Problem::parameter(name, detail))
    };
    let (from, to) = (read("from")?, read("to")?);
    let current = calendar.period(Window::Month, now);
    let span = match (from, to) {
        (None, None) => current,
        (Some(from), None) => Period { start: from, end: current.end },
        (None, Some(to)) => {
            Period { start: calendar.period(Window::Month, UnixMillis(to.0 - 1)).start, end: to }
        }
        (Some(from), Some(to)) => Period { start: from, end: to },
    };
    if span.start >= span.end {
        return Err(Problem::parameter(
            "from",
            format!("`{}` is not before the end, `{}`", span.start, span.end),
        ));
    }
    if span.end.0 - span.start.0 > LONGEST_DAYS * 24 * HOUR {
        return Err(Problem::parameter(
            "from",
            format!("one answer covers at most {LONGEST_DAYS} days: ask for less at a time"),
        ));
    }
    Ok(span)
}

/// Usage is recorded by hours of UTC: an hour belongs to the bucket in which it begins. Of old usage only the days are
/// known: asked for hours, the row is the whole day's, as its start and end say.
fn gather(
    rows: Vec<UsageRow>,
    span: Period,
    window: Window,
    calendar: &BillingCalendar,
) -> Vec<UsageRowView> {
    let mut sums: BTreeMap<(String, i64), (i64, Units)> = BTreeMap::new();
    for row in rows {
        let at = row.hour.max(span.start);
        let bucket = match window {
            Window::Hour if row.window == Window::Day => calendar.period(Window::Day, row.hour),
            Window::Hour => Period { start: row.hour, end: UnixMillis(row.hour.0.saturating_add(HOUR)) },
            Window::Day | Window::Week | Window::Month => calendar.period(window, at),
        };
        let sum = sums.entry((row.meter.to_string(), bucket.start.0)).or_insert((bucket.end.0, Units::ZERO));
        // A late report of an hour whose day is rolled up already stands beside that day for a while.
        sum.0 = sum.0.max(bucket.end.0);
        sum.1 = sum.1.saturating_add(row.units);
    }
    sums.into_iter()
        .filter(|(_, (_, units))| *units > Units::ZERO)
        .map(|((meter, start), (end, units))| UsageRowView {
            meter,
            start: UnixMillis(start).to_string(),
            end: UnixMillis(end).to_string(),
            units: units.get(),
        })
        .collect()
}

fn refuse_csv(headers: &HeaderMap) -> Result<(), Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let takes = |types: &[&str]| types.iter().any(|kind| accept.contains(kind));
    if takes(&["text/csv"]) && !takes(&["application/json", "application/*", "*/*"]) {
        return Err(Problem::new(Code::NotAcceptable, "CSV is not available yet: ask for application/json"));
    }
    Ok(())
}

/// Read what a tenant has used.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/usage", tag = "usage",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("from" = Option<String>, Query, description = "RFC 3339, or a date in the tenant's zone; by default the current billing month's start"),
           ("to" = Option<String>, Query, description = "Likewise, not included; by default the current billing month's end"),
           ("bucket" = Option<String>, Query, description = "hour (UTC), day (the default) or month (the billing month), in the tenant's zone")),
    responses((status = 200, description = "Its usage", body = UsageView),
              (status = 406, description = "CSV is not available yet", body = super::problem::ProblemView, content_type = "application/problem+json"),
              ReadErrors))]
pub(super) async fn get_usage(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Json<UsageView>, Problem> {
    refuse_csv(&headers)?;
    let window = match params.take("bucket").as_deref() {
        Some("hour") => Window::Hour,
        None | Some("day") => Window::Day,
        Some("month") => Window::Month,
        Some(_) => return Err(Problem::parameter("bucket", "expected hour, day or month")),
    };
    let tenant = shared.find(&id).await?;
    let calendar = calendar(&tenant)
        .ok_or_else(|| Problem::new(Code::Internal, "the tenant's months cannot be computed"))?;
    let span = span(&mut params, &calendar, shared.clock.now())?;
    params.finish()?;
    // Whole hours: what was used in the hours that the span cuts is not known any finer.
    let hours = Period {
        start: UnixMillis(span.start.0.div_euclid(HOUR) * HOUR),
        end: UnixMillis(span.end.0.saturating_add(HOUR - 1).div_euclid(HOUR) * HOUR),
    };
    let rows = shared.tenants.usage(&id, hours).await?;
    Ok(Json(UsageView {
        tenant: id.to_string(),
        from: span.start.to_string(),
        to: span.end.to_string(),
        bucket: window.as_str(),
        rows: gather(rows, span, window, &calendar),
    }))
}
