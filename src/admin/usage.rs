//! What a tenant has used, by meter and span of time.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared, instants,
    openapi::ReadErrors,
    params::{Params, TenantPath},
    present::Present,
    problem::Problem,
    rights::Counts,
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
    /// By meter: units of the current billing month, not in the rows, that nodes which are gone were granted and may have
    /// used. The quota counts them. Empty where there are none, or where the span is over.
    uncertain: BTreeMap<String, u64>,
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
fn calendar(tenant: &Tenant) -> BillingCalendar {
    match &tenant.subscription {
        Some(subscription) => subscription.calendar(&tenant.zone),
        None => BillingCalendar::new(tenant.zone.clone(), AnchorDay::FIRST),
    }
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

/// Units by meter and bucket's start, and the bucket's end.
type Sums = BTreeMap<(String, UnixMillis), (UnixMillis, i64)>;

/// Usage is recorded by hours of UTC: an hour belongs to the bucket in which it begins. Of old usage only the days are
/// known: asked for hours, the row is the whole day's, as its start and end say, with those hours of the day in it that are
/// not rolled up yet or were reported late.
fn gather(
    rows: Vec<UsageRow>,
    span: Period,
    window: Window,
    calendar: &BillingCalendar,
) -> Vec<UsageRowView> {
    let day = |row: &UsageRow| calendar.period(Window::Day, row.hour);
    let rolled_up = rows.iter().filter(|row| row.window == Window::Day);
    let whole: BTreeSet<_> = rolled_up.map(|row| (row.meter.clone(), day(row).start)).collect();
    let mut sums = Sums::new();
    for row in rows {
        let bucket = match window {
            Window::Hour => Some(&row)
                .filter(|_| !whole.is_empty())
                .map(day)
                .filter(|day| whole.contains(&(row.meter.clone(), day.start)))
                .unwrap_or(Period { start: row.hour, end: UnixMillis(row.hour.0.saturating_add(HOUR)) }),
            Window::Day | Window::Week | Window::Month => calendar.period(window, row.hour.max(span.start)),
        };
        let (_, sum) = sums.entry((row.meter.to_string(), bucket.start)).or_insert((bucket.end, 0));
        *sum = sum.saturating_add(row.units);
    }
    net(&mut sums);
    sums.into_iter()
        .filter_map(|((meter, start), (end, units))| {
            let units = u64::try_from(units).ok().filter(|units| *units > 0)?;
            Some(UsageRowView { meter, start: start.to_string(), end: end.to_string(), units })
        })
        .collect()
}

/// What was given back in a later bucket than it was charged in is taken from the buckets before, so that the sum is what
/// was used.
fn net(sums: &mut Sums) {
    let (mut of, mut owed) = (None, 0_i64);
    for ((meter, _), (_, units)) in sums.iter_mut().rev() {
        if of.replace(meter) != Some(meter) {
            owed = 0;
        }
        let net = units.saturating_add(owed);
        (*units, owed) = (net.max(0), net.min(0));
    }
}

/// Units that were granted for use in the current month, and neither recorded nor returned.
async fn uncertain(shared: &Shared, present: &Present) -> Result<BTreeMap<String, u64>, Problem> {
    // Usage can be read also of a tenant whose plan the policies lack.
    let Ok(rights) = present.rights() else { return Ok(BTreeMap::new()) };
    let Some(given) = &rights.entitlement else { return Ok(BTreeMap::new()) };
    let counts = Counts::of(shared, &rights, present.now).await?;
    let of_month = present.catalog.meters.iter().filter_map(|meter| {
        let sources = counts.sources(given, &present.catalog, &meter.id, present.now);
        let units = sources.iter().map(|source| source.uncertain).fold(Units::ZERO, Units::saturating_add);
        Some((meter.id.to_string(), units.get())).filter(|(_, units)| *units > 0)
    });
    Ok(of_month.collect())
}

/// Whether the client would rather have CSV. Who names both alike, or neither, is given JSON.
pub(super) fn wants_csv(headers: &HeaderMap) -> bool {
    let (mut csv, mut json) = (0.0_f32, 0.0_f32);
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        match kind.as_str() {
            "text/csv" => csv = csv.max(weight),
            "application/json" | "application/*" => json = json.max(weight),
            _ => {}
        }
    }
    csv > json
}

/// As of RFC 4180. No value of a row needs quotes: ids, instants and numbers have neither commas nor quotes.
fn csv(rows: &[UsageRowView]) -> Response {
    let mut text = String::from("meter,start,end,units\r\n");
    for UsageRowView { meter, start, end, units } in rows {
        text.extend([meter, ",", start, ",", end, ",", &units.to_string(), "\r\n"]);
    }
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], text).into_response()
}

/// Read what a tenant has used.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/usage", tag = "usage",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("from" = Option<String>, Query, description = "RFC 3339, or a date in the tenant's zone; by default the current billing month's start"),
           ("to" = Option<String>, Query, description = "Likewise, not included; by default the current billing month's end"),
           ("bucket" = Option<String>, Query, description = "hour (UTC), day (the default) or month (the billing month), in the tenant's zone")),
    responses((status = 200, description = "Its usage. As CSV (Accept: text/csv) the rows alone, below a line of names",
               content((UsageView = "application/json"), (String = "text/csv", example = "meter,start,end,units"))),
              ReadErrors))]
pub(super) async fn get_usage(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let window = match params.take("bucket").as_deref() {
        Some("hour") => Window::Hour,
        None | Some("day") => Window::Day,
        Some("month") => Window::Month,
        Some(_) => return Err(Problem::parameter("bucket", "expected hour, day or month")),
    };
    let present = shared.find(&id).await?;
    let (calendar, now) = (calendar(&present.tenant), present.now);
    let span = span(&mut params, &calendar, now)?;
    params.finish()?;
    // Whole hours: what was used in the hours that the span cuts is not known any finer.
    let hours = Period {
        start: UnixMillis(span.start.0.div_euclid(HOUR) * HOUR),
        end: UnixMillis(span.end.0.saturating_add(HOUR - 1).div_euclid(HOUR) * HOUR),
    };
    let rows = shared.tenants.usage(&id, hours).await?;
    let rows = gather(rows, span, window, &calendar);
    if wants_csv(&headers) {
        return Ok(csv(&rows));
    }
    let uncertain = if span.contains(now) { uncertain(&shared, &present).await? } else { BTreeMap::new() };
    Ok(Json(UsageView {
        tenant: id.to_string(),
        from: span.start.to_string(),
        to: span.end.to_string(),
        bucket: window.as_str(),
        rows,
        uncertain,
    })
    .into_response())
}
