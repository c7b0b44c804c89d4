//! Grants: units beside the plan's, given, listed with what is left of them, and taken back.

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    instants,
    openapi::{ReadErrors, WriteErrors},
    overrides::some_of,
    params::{GrantPath, Params, TenantPath},
    present::Present,
    problem::{Code, Problem},
    rights::Counts,
    sources::SourceCount,
    views::{Nothing, Page, PeriodView},
    write::Write,
};
use crate::{
    domain::{
        catalog::Catalog,
        command::{Change, NewGrant},
        grant::{DEFAULT_PRIORITY, Grant, MOST_PRIORITY},
        id::{MeterId, TenantId},
        rights::Source,
        time::Version,
        units::Units,
    },
    ports::GrantRow,
};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// Gives units beside the plan's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateGrant {
    /// Of which meter.
    meter: String,
    /// How many, 1 to 2^53 - 1; of a recurring grant in each billing month.
    #[schema(value_type = u64)]
    units: i128,
    /// From then on nothing of it can be used (RFC 3339). Absent: until it is used up.
    expires_at: Option<String>,
    /// Lower ones are burnt first, 0 to 1000; the plan's own units have 100, which is the default.
    #[schema(value_type = Option<u16>)]
    priority: Option<i128>,
    /// Anew in each billing month; what is left of a month's is lost with it. By default once.
    recurring: Option<bool>,
    /// Why, for people: 1 to 500 characters.
    reason: Option<String>,
}

/// A grant, and what is left of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
pub(super) struct GrantView {
    /// Its id.
    id: String,
    /// Of which meter.
    meter: String,
    /// How many units; of a recurring grant in each billing month.
    units: u64,
    /// Units used of it, of a recurring one in this billing month; `null` where it is not in force.
    used: Option<u64>,
    /// Units left of it, uncertain ones counting as used; `null` where it is not in force.
    remaining: Option<u64>,
    /// Lower ones are burnt first.
    priority: u16,
    /// Anew in each billing month.
    recurring: bool,
    /// `grant`, or `rollover` for unused units of the month before.
    source: &'static str,
    /// Why, for people.
    reason: Option<String>,
    /// When it was given.
    created_at: String,
    /// From then on nothing of it can be used; `null`: until it is used up.
    expires_at: Option<String>,
    /// When it expired or was voided; `null`: it did not.
    ended_at: Option<String>,
    /// The tenant's billing month.
    period: Option<PeriodView>,
}

/// What is left of a grant that was voided.
#[derive(Serialize, ToSchema)]
pub(super) struct VoidedGrant {
    /// Its id.
    id: String,
    /// `voided`.
    state: &'static str,
}

impl CreateGrant {
    fn check(self, catalog: &Catalog) -> Result<NewGrant, Problem> {
        let out_of_range =
            |pointer: &str, detail: String| Problem::field(Code::ValueImpossible, pointer, detail);
        let meter = MeterId::parse(&self.meter)
            .map_err(|error| Problem::field(Code::FieldInvalid, "/meter", error.to_string()))?;
        if catalog.meter_ix(meter.as_str()).is_none() {
            let known: Vec<&str> = catalog.meters.iter().map(|meter| meter.id.as_str()).collect();
            let detail = format!("the policies have no meter `{meter}`: they have {}", some_of(&known));
            return Err(Problem::field(Code::NameUnknown, "/meter", detail));
        }
        let units = u64::try_from(self.units).ok().filter(|units| *units > 0);
        let units = units.and_then(|units| Units::new(units).ok());
        let units = units
            .ok_or_else(|| out_of_range("/units", format!("`{}`: expected 1 to 2^53 - 1", self.units)))?;
        let priority = match self.priority {
            None => DEFAULT_PRIORITY,
            Some(given) => {
                u16::try_from(given).ok().filter(|priority| *priority <= MOST_PRIORITY).ok_or_else(|| {
                    out_of_range("/priority", format!("`{given}`: expected 0 to {MOST_PRIORITY}"))
                })?
            }
        };
        let expires_at = self.expires_at.as_deref().map(instants::instant).transpose();
        let expires_at =
            expires_at.map_err(|detail| Problem::field(Code::FieldInvalid, "/expires_at", detail))?;
        let readable = |reason: &String| {
            (1..=LONGEST_REASON).contains(&reason.chars().count()) && !reason.chars().any(char::is_control)
        };
        if !self.reason.as_ref().is_none_or(readable) {
            let detail = format!("expected 1 to {LONGEST_REASON} characters without control characters");
            return Err(out_of_range("/reason", detail));
        }
        let recurring = self.recurring.unwrap_or(false);
        Ok(NewGrant { meter, units, priority, expires_at, recurring, reason: self.reason })
    }
}

/// How much is used of the grants that a tenant can use now.
struct Numbers<'a> {
    present: &'a Present,
    counts: Vec<(MeterId, SourceCount)>,
}

impl<'a> Numbers<'a> {
    async fn of(shared: &Shared, present: &'a Present) -> Result<Self, Problem> {
        let mut counts = Vec::new();
        // Grants can be read also of a tenant whose plan the policies lack.
        if !present.tenant.grants.is_empty()
            && let Ok(rights) = present.rights()
            && let Some(given) = &rights.entitlement
        {
            let ledger = Counts::of(shared, &rights, present.now).await?;
            for meter in &present.catalog.meters {
                let sources = ledger.sources(given, &present.catalog, &meter.id, present.now);
                counts.extend(sources.into_iter().map(|count| (meter.id.clone(), count)));
            }
        }
        Ok(Self { present, counts })
    }

    fn get(&self, grant: &Grant) -> Option<&SourceCount> {
        let source = Source::Grant(grant.number);
        let found = self.counts.iter().find(|(id, count)| *id == grant.meter && count.terms.source == source);
        found.map(|(_, count)| count)
    }

    fn view(&self, row: GrantRow) -> GrantView {
        let GrantRow { grant, ended_at } = row;
        let expired = grant.expires_at.filter(|end| *end <= self.present.now);
        let ended_at = ended_at.or(expired);
        let count = if ended_at.is_none() { self.get(&grant) } else { None };
        GrantView {
            used: count.map(|count| count.used.get()),
            remaining: count.and_then(SourceCount::left).map(Units::get),
            id: grant.id.to_string(),
            meter: grant.meter.to_string(),
            units: grant.units.get(),
            priority: grant.priority,
            recurring: grant.recurring,
            source: grant.source.as_str(),
            reason: grant.reason,
            created_at: grant.since.to_string(),
            expires_at: grant.expires_at.map(|at| at.to_string()),
            ended_at: ended_at.map(|at| at.to_string()),
            period: self.present.period(),
        }
    }
}

/// The grant that a version gave, as it is now.
async fn given_at(shared: &Shared, id: &TenantId, version: Version) -> Result<GrantView, Problem> {
    let present = shared.find(id).await?;
    let rows = shared.lifecycle.grants(id, Some(Version(version.0.saturating_add(1))), 1).await?;
    let row = rows.into_iter().find(|row| row.grant.number == version).ok_or_else(|| {
        Problem::new(Code::GrantNotFound, "it cannot be shown: the tenant was removed, and made again, since")
    })?;
    Ok(Numbers::of(shared, &present).await?.view(row))
}

/// Give a tenant units beside the plan's.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/grants", tag = "grants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = CreateGrant,
    responses((status = 201, description = "Given", body = Written<GrantView>), WriteErrors))]
pub(super) async fn create_grant(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    Write { asked, ticket }: Write<CreateGrant>,
) -> Result<Response, Problem> {
    let new = asked.check(shared.policies.catalog().of_tenant(&id))?;
    let done = ticket.commit(&shared, &id, Change::Grant(new)).await?;
    let version = done.committed.version;
    match given_at(&shared, &id, version).await {
        Ok(grant) => Ok(done.answer(&shared, StatusCode::CREATED, grant).await),
        Err(problem) => Err(problem.after_commit(version)),
    }
}

/// A page of grants, and where the next one begins. The store parts none that have one number, as what was rolled over at
/// once: so a full page may be longer than it was asked for, and only asking again tells whether there are more.
async fn page(
    shared: &Shared,
    id: &TenantId,
    before: Option<Version>,
    limit: u32,
) -> Result<(Vec<GrantRow>, Option<u64>), Problem> {
    let rows = shared.lifecycle.grants(id, before, limit).await?;
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let last = rows.last().map(|row| row.grant.number).filter(|_| full);
    let Some(last) = last else { return Ok((rows, None)) };
    let more = shared.lifecycle.grants(id, Some(last), 1).await?;
    Ok((rows, (!more.is_empty()).then_some(last.0)))
}

/// List a tenant's grants, also those that have ended, the newest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/grants", tag = "grants",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("cursor" = Option<u64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100; those that were rolled over together are not parted")),
    responses((status = 200, description = "One page", body = Page<GrantView, u64>), ReadErrors))]
pub(super) async fn list_grants(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    mut params: Params,
) -> Result<Json<Page<GrantView, u64>>, Problem> {
    let (before, limit) = (params.place_from_the_end("cursor")?, params.limit()?);
    params.finish()?;
    let present = shared.find(&id).await?;
    let (rows, next) = page(&shared, &id, before, limit).await?;
    let numbers = Numbers::of(&shared, &present).await?;
    Ok(Json(Page { items: rows.into_iter().map(|row| numbers.view(row)).collect(), next }))
}

/// Take back what is left of a grant. What was used of it stays used.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/grants/{grant}", tag = "grants",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("grant" = String, Path, description = "The grant's id")),
    responses((status = 200, description = "Voided", body = Written<VoidedGrant>), WriteErrors))]
pub(super) async fn void_grant(
    State(shared): State<Shared>,
    GrantPath(id, grant): GrantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let done = write.ticket.commit(&shared, &id, Change::VoidGrant(grant.clone())).await?;
    Ok(done.answer(&shared, StatusCode::OK, VoidedGrant { id: grant.to_string(), state: "voided" }).await)
}
