//! Decides the events of a call: most at once, and those that must wait for something again, for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::header;

use super::{
    super::{
        Shared,
        present::Present,
        problem::{Code, Problem},
    },
    charges,
    event::{Read, Told},
    refusal::Refusal,
    view::Outcome,
};
use crate::{
    domain::{id::TenantId, rights::Rights, time::UnixMillis},
    ports::{EventKey, EventOutcome, UsageEvent},
};

/// The waits for what other nodes give back. Whoever holds units gives them back within a moment of hearing that they are
/// wanted.
const RECALLS: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(100),
];
/// Before an event is decided again for which other limits have just come into force, or nothing is granted yet.
const LATER: Duration = Duration::from_millis(50);
/// So often the events of a call are decided, in all some two seconds.
const ROUNDS: u32 = 40;

/// An event that is not decided yet.
struct Open<'t> {
    place: usize,
    told: &'t Told,
    recalls: usize,
}

/// What a tenant may be charged at an instant.
type Tenants = HashMap<TenantId, Result<Arc<Rights>, Refusal>>;

/// What becomes of each event, in their order.
pub(super) async fn decide(shared: &Shared, told: &[Read]) -> Result<Vec<Outcome>, Problem> {
    let (mut outcomes, repeats, mut open) = sort(shared, told).await?;
    for round in 0..ROUNDS {
        let pause = decide_once(shared, &mut outcomes, &mut open, round).await?;
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    if !open.is_empty() {
        let detail = "some of these events could not be decided yet: send them again, those that were charged are known";
        return Err(Problem::new(Code::StoreUnavailable, detail).with_header(header::RETRY_AFTER, "1"));
    }
    for (place, first) in repeats {
        outcomes[place] = match &outcomes[first] {
            Some(Outcome::Charged(_)) => Some(Outcome::Duplicate),
            same => same.clone(),
        };
    }
    let lost = || Outcome::Refused(Refusal::new("ledger-unavailable", "it was not decided: send it again"));
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
}

type Sorted<'t> = (Vec<Option<Outcome>>, Vec<(usize, usize)>, Vec<Open<'t>>);

/// What is known of the events without charging any; those that repeat an earlier one of the call, with its place; and
/// those that are open.
async fn sort<'t>(shared: &Shared, told: &'t [Read]) -> Result<Sorted<'t>, Problem> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(told.len());
    let (mut first, mut repeats, mut open) = (HashMap::new(), Vec::new(), Vec::new());
    for (place, read) in told.iter().enumerate() {
        outcomes.push(None);
        match &read.told {
            Err(refusal) => outcomes[place] = Some(Outcome::Refused(refusal.clone())),
            Ok(told) => match first.get(&told.key) {
                None => {
                    first.insert(&told.key, (place, told.digest));
                    open.push(Open { place, told, recalls: 0 });
                }
                Some((earlier, digest)) if *digest == told.digest => repeats.push((place, *earlier)),
                Some(_) => outcomes[place] = Some(Outcome::Refused(Refusal::conflict())),
            },
        }
    }
    let keys: Vec<EventKey> = open.iter().map(|open| open.told.key.clone()).collect();
    let known = shared.usage_events.known_events(&keys).await?;
    let mut unknown = Vec::with_capacity(open.len());
    for (one, known) in open.into_iter().zip(known) {
        match known {
            None => unknown.push(one),
            Some(digest) if digest == one.told.digest => outcomes[one.place] = Some(Outcome::Duplicate),
            Some(_) => outcomes[one.place] = Some(Outcome::Refused(Refusal::conflict())),
        }
    }
    Ok((outcomes, repeats, unknown))
}

/// Decides the open events, and leaves those that are to be decided again after a pause.
async fn decide_once(
    shared: &Shared,
    outcomes: &mut [Option<Outcome>],
    open: &mut Vec<Open<'_>>,
    round: u32,
) -> Result<Duration, Problem> {
    let mut tenants = Tenants::new();
    let (mut asked, mut events) = (Vec::new(), Vec::new());
    for one in std::mem::take(open) {
        let now = shared.clock.now();
        match compile(shared, &mut tenants, one.told, now).await? {
            Ok(event) => {
                asked.push(one);
                events.push(event);
            }
            Err(refusal) => outcomes[one.place] = Some(Outcome::Refused(refusal)),
        }
    }
    if events.is_empty() {
        return Ok(Duration::ZERO);
    }
    let decided = shared.usage_events.charge_events(&events).await?;
    let mut pause = Duration::ZERO;
    for ((mut one, event), outcome) in asked.into_iter().zip(events).zip(decided) {
        let done = match outcome {
            EventOutcome::Charged => Outcome::Charged(one.told.units.clone()),
            EventOutcome::Duplicate => Outcome::Duplicate,
            EventOutcome::Conflict => Outcome::Refused(Refusal::conflict()),
            EventOutcome::Exhausted(short) if short.held > 0 && one.recalls < RECALLS.len() => {
                pause = pause.max(RECALLS[one.recalls]);
                one.recalls += 1;
                open.push(one);
                continue;
            }
            EventOutcome::Exhausted(short) => match tenants.get(&event.tenant) {
                Some(Ok(rights)) => Outcome::Refused(charges::exhausted(short, rights, event.at)),
                Some(Err(refusal)) => Outcome::Refused(refusal.clone()),
                None => continue,
            },
            EventOutcome::Stale | EventOutcome::Withheld => {
                let changed_just_now = round == 0 && outcome == EventOutcome::Stale;
                pause = pause.max(if changed_just_now { Duration::ZERO } else { LATER });
                open.push(one);
                continue;
            }
        };
        outcomes[one.place] = Some(done);
    }
    Ok(pause)
}

/// What an event charges as its tenant is now.
async fn compile(
    shared: &Shared,
    tenants: &mut Tenants,
    told: &Told,
    now: UnixMillis,
) -> Result<Result<UsageEvent, Refusal>, Problem> {
    let at = match charges::time(told, now) {
        Ok(at) => at,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let fits =
        |known: &Result<Arc<Rights>, Refusal>| known.as_ref().map_or(true, |rights| now < rights.until);
    let rights = match tenants.get(&told.tenant).filter(|known| fits(known)) {
        Some(known) => known.clone(),
        None => {
            let rights = rights(shared, &told.tenant, now).await?;
            tenants.insert(told.tenant.clone(), rights.clone());
            rights
        }
    };
    Ok(rights.and_then(|rights| charges::of(told, &rights, at, now)))
}

async fn rights(
    shared: &Shared,
    tenant: &TenantId,
    now: UnixMillis,
) -> Result<Result<Arc<Rights>, Refusal>, Problem> {
    let Some(found) = shared.tenants.tenant(tenant).await?.value else {
        return Ok(Err(Refusal::tenant_unknown(tenant)));
    };
    let present = Present::of(&found, shared.policies.catalog().of_tenant(tenant), now);
    let missing = |problem: Problem| Refusal::new("rights-unavailable", problem.detail());
    Ok(present.rights().map_err(missing))
}
