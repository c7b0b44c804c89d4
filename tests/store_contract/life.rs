//! A tenant's whole life: each change does in every store just what the domain says, once, and is told.

use std::sync::Arc;

use plangate::{
    domain::{
        command::{NewGrant, RolloverRule, Subscribe, TrialOffer, When},
        lifecycle::{Happened, Refused},
        period::{AnchorDay, Zone},
        plan::Rollover,
        subscription::Standing,
        tenant::{Overrides, Tenant},
        transitions::State,
    },
    ports::{AuditRow, Effect, ExecuteError, GrantRow},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::*;
use crate::{Fixture, open};

on_every_store!(
    whatever_is_changed_is_kept,
    a_refused_change_leaves_nothing,
    a_repeated_grant_is_one,
    what_happens_by_itself_is_written_once,
    many_at_once_write_it_once,
    a_change_writes_down_what_was_due,
    a_newer_version_is_come_to_once,
    months_are_rolled_over_once,
    nothing_is_left_of_a_deleted_tenant,
);

const DAY: i64 = 86_400_000;

fn at(days: i64) -> UnixMillis {
    UnixMillis(START.0 + days * DAY)
}

fn from(instant: UnixMillis) -> Origin {
    Origin { at: instant, ..origin() }
}

async fn make(on: &Fixture, id: &str, what: Change, days: i64) -> Result<Committed, ExecuteError> {
    on.store.execute(&change(id, what), &from(at(days))).await
}

async fn read(on: &Fixture, id: &str) -> Tenant {
    on.store.tenant(&tenant(id)).await.unwrap().value.unwrap()
}

fn to(plan: &str) -> Subscribe {
    Subscribe::to(plan.parse().unwrap())
}

fn grant_of(units: u64, days: Option<i64>) -> NewGrant {
    NewGrant {
        meter: "requests".parse().unwrap(),
        units: Units::saturating(units),
        priority: 50,
        expires_at: days.map(at),
        recurring: false,
        reason: Some("sorry for \"Monday\", ✓".into()),
    }
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        2 => Just(When::Now),
        2 => Just(When::PeriodEnd),
        2 => (1..90_i64).prop_map(|days| When::At(at(days))),
    ]
}

fn subscription() -> impl Strategy<Value = Change> {
    use plangate::domain::subscription::UsageRule as Rule;
    let usage = prop_oneof![Just(Rule::Keep), Just(Rule::Reset), Just(Rule::Prorate)];
    let trial = (0..20_u16, any::<bool>(), usage.clone(), any::<bool>(), any::<bool>()).prop_map(
        |(days, then, usage, asked, again)| TrialOffer {
            days,
            then: then.then(|| "basic@2".parse().unwrap()),
            usage,
            asked,
            again,
        },
    );
    let plan = prop_oneof![Just("free"), Just("basic"), Just("basic@3"), Just("pro@2")];
    let anchor = prop::option::of((1..=31_i64).prop_map(|day| AnchorDay::new(day).unwrap()));
    (plan, when(), anchor, prop::option::of(usage), prop::option::of(trial)).prop_map(
        |(plan, at, anchor, usage, trial)| {
            Change::Subscribe(Subscribe { at, anchor, usage, trial, ..to(plan) })
        },
    )
}

/// Any change to a tenant's facts.
fn any_change() -> impl Strategy<Value = Change> {
    let zone = prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("Pacific/Auckland")];
    let addon = prop_oneof![Just("seats-10"), Just("more.tokens")];
    let grant = (0..9_000_u64, 0..1_000_u16, prop::option::of(1..90_i64), any::<bool>()).prop_map(
        |(units, priority, days, recurring)| {
            Change::Grant(NewGrant { priority, recurring, ..grant_of(units, days) })
        },
    );
    prop_oneof![
        9 => subscription(),
        2 => when().prop_map(Change::Cancel),
        2 => Just(Change::Undo),
        1 => Just(Change::Pause),
        2 => Just(Change::Continue),
        2 => (0..9_u16).prop_map(|grace_days| Change::PastDue { grace_days }),
        3 => Just(Change::Paid),
        1 => Just(Change::Suspend),
        1 => Just(Change::SetOverrides(Overrides::default())),
        1 => Just(Change::Resume),
        2 => zone.prop_map(|zone| Change::PutTenant { name: None, zone: Some(Zone::named(zone).unwrap()), attributes: None }),
        3 => grant,
        1 => (0..40_u64).prop_map(|number| Change::VoidGrant(format!("g{number}").parse().unwrap())),
        2 => (addon.clone(), 1..5_u32)
            .prop_map(|(addon, quantity)| Change::Attach { addon: addon.parse().unwrap(), quantity }),
        2 => (addon, when()).prop_map(|(addon, at)| Change::Detach { addon: addon.parse().unwrap(), at }),
        4 => Just(Change::Advance),
        2 => Just(Change::MoveVersion { to: "basic@3".parse().unwrap() }),
        1 => Just(Change::RollOver { rules: vec![rule(100, Rollover::Percent(20))] }),
    ]
}

fn rule(limit: u64, rule: Rollover) -> RolloverRule {
    RolloverRule { meter: "requests".parse().unwrap(), limit: Units::saturating(limit), rule }
}

/// What the store is to do: the domain's own rules on a tenant of the test's.
struct Model {
    tenant: Tenant,
    history: Vec<GrantRow>,
}

impl Model {
    /// The change, and what happens by itself; `None`: it has nothing to do.
    fn make(
        &mut self,
        change: &Change,
        now: UnixMillis,
        version: Version,
    ) -> Result<Option<Vec<Happened>>, Refused> {
        let then = self.tenant.at(now);
        let on = then.subscription.as_ref();
        let idle = match change {
            Change::Advance => self.tenant.next_instant().is_none_or(|due| due > now),
            Change::MoveVersion { to } => {
                on.is_none_or(|on| on.plan.id != to.id || on.plan.version >= to.version)
            }
            Change::RollOver { .. } => then.rollover_due(now).is_none(),
            _ => false,
        };
        if idle {
            return Ok(None);
        }
        let mut after = self.tenant.clone();
        let happened = after.apply(change, now, version)?;
        if let Change::RollOver { rules } = change {
            // Nothing was ever counted.
            let whole = rules.iter().map(|rule| (rule.meter.clone(), rule.rule.of(rule.limit, rule.limit)));
            after.roll_over(&whole.collect::<Vec<_>>(), now, version);
        }
        for row in self.history.iter_mut().filter(|row| row.ended_at.is_none()) {
            if after.grants.iter().all(|grant| grant.id != row.grant.id) {
                row.ended_at = Some(now);
            }
        }
        let given = after.grants.iter().filter(|one| self.tenant.grants.iter().all(|had| had.id != one.id));
        self.history.extend(given.map(|grant| GrantRow { grant: grant.clone(), ended_at: None }));
        self.tenant = after;
        Ok(Some(happened))
    }

    fn effect(before: &Tenant, change: &Change, version: Version) -> Effect {
        match change {
            Change::Subscribe(_) if before.subscription.is_none() => Effect::Created,
            Change::Attach { addon, .. } if before.addons.iter().all(|had| had.addon != *addon) => {
                Effect::Created
            }
            Change::Detach { at: When::Now, .. } | Change::VoidGrant(_) => Effect::Deleted,
            Change::Grant(_) => Effect::GrantCreated(format!("g{version}").parse().unwrap()),
            _ => Effect::Updated,
        }
    }
}

/// The lines that a change of this version has in the audit log.
async fn told(on: &Fixture, version: Version) -> Vec<AuditRow> {
    let all = on.store.audit(0, 10_000).await.unwrap();
    all.into_iter().filter(|row| row.version == version).collect()
}

async fn whatever_is_changed_is_kept(on: &Fixture) {
    const LIVES: usize = 12;
    const CHANGES: usize = 40;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut version = Version(0);
    let (mut made, mut refused) = (std::collections::BTreeMap::<String, u32>::new(), 0);
    for life in 0..LIVES {
        let id = format!("life-{life}");
        done(&*on.store, &put(&id)).await;
        version = Version(version.0 + 1);
        let mut model = Model { tenant: read(on, &id).await, history: Vec::new() };
        let mut now = START;
        for _ in 0..CHANGES {
            let mut change = any_change().new_tree(&mut runner).unwrap().current();
            if let (Change::VoidGrant(id), Some(there)) = (&mut change, model.tenant.grants.first()) {
                *id = there.id.clone();
            }
            let pause = prop_oneof![2 => Just(0_i64), 3 => 1..4 * DAY, 1 => 1..40 * DAY];
            now = UnixMillis(now.0 + pause.new_tree(&mut runner).unwrap().current());
            let (before, next) = (model.tenant.at(now), Version(version.0 + 1));
            let expected = model.make(&change, now, next);
            let command = Command { tenant: tenant(&id), change };
            let answer = on.store.execute(&command, &from(now)).await;
            let change = command.change;
            match expected {
                Err(why) => {
                    assert_eq!(answer, Err(ExecuteError::Refused(why)), "{change:?}");
                    refused += 1;
                }
                Ok(None) => {
                    let (version, effect) = (model.tenant.version, Effect::Updated);
                    assert_eq!(answer, Ok(Committed { version, effect, replayed: true }), "{change:?}");
                }
                Ok(Some(happened)) => {
                    let effect = Model::effect(&before, &change, next);
                    assert_eq!(
                        answer,
                        Ok(Committed { version: next, effect, replayed: false }),
                        "{change:?}"
                    );
                    is_told(on, &change, &happened, next).await;
                    version = next;
                    *made.entry(change.kind().to_owned()).or_default() += 1;
                }
            }
            assert_eq!(read(on, &id).await, model.tenant, "{change:?}");
        }
        let due = on.store.due(UnixMillis(i64::MAX), 100).await.unwrap();
        assert_eq!(due.contains(&tenant(&id)), model.tenant.next_instant().is_some());
        let history = on.store.grants(&tenant(&id), None, 1_000).await.unwrap();
        assert_eq!(history, model.history.into_iter().rev().collect::<Vec<_>>());
    }
    assert!(refused > 60, "{refused} refused");
    assert!(made.len() >= 17 && made.values().sum::<u32>() > 150, "of almost every kind: {made:?}");
    assert_eq!(
        on.store.tenant(&tenant("nobody")).await.unwrap().version,
        version,
        "no refusal took a version"
    );
}

async fn is_told(on: &Fixture, change: &Change, happened: &[Happened], version: Version) {
    let lines = told(on, version).await;
    let by_itself: Vec<_> = lines.iter().filter(|line| line.source == "schedule").collect();
    assert_eq!(by_itself.len(), happened.len(), "{lines:?}");
    for (line, one) in by_itself.iter().zip(happened) {
        assert_eq!((line.actor.as_str(), line.kind.as_str()), ("system", one.what.kind()));
        assert_eq!(line.detail["at"], one.at.to_string());
    }
    let asked: Vec<_> = lines.iter().filter(|line| line.source != "schedule").collect();
    let own = usize::from(*change != Change::Advance);
    assert_eq!(asked.len(), own, "{lines:?}");
    assert!(asked.iter().all(|line| line.kind == change.kind() && line.actor == "admin"));
    let feed = on.store.changes(Version(version.0 - 1), 100).await.unwrap();
    let mut kinds: Vec<_> = lines.iter().map(|line| line.kind.clone()).collect();
    kinds.sort();
    kinds.dedup();
    assert!(feed.iter().all(|row| row.version == version));
    assert_eq!(feed.into_iter().map(|row| row.kind).collect::<Vec<_>>(), kinds);
}

async fn a_refused_change_leaves_nothing(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let expires_at = Some(UnixMillis(START.0 - 1));
    let addon = "seats".parse().unwrap();
    let refused = [
        (Change::Cancel(When::Now), State::None),
        (Change::Pause, State::None),
        (Change::Continue, State::None),
        (Change::Paid, State::None),
        (Change::PastDue { grace_days: 3 }, State::None),
        (Change::Subscribe(Subscribe { at: When::PeriodEnd, ..to("pro") }), State::None),
    ];
    for (what, state) in refused {
        let answer = on.store.execute(&change("acme", what), &once("x", "f")).await.unwrap_err();
        let ExecuteError::Refused(Refused::State { from, .. }) = answer else { panic!("{answer}") };
        assert_eq!(from, state);
    }
    let others = [
        (Change::Undo, Refused::NothingToUndo),
        (Change::VoidGrant("g9".parse().unwrap()), Refused::NoGrant("g9".parse().unwrap())),
        (Change::Detach { addon, at: When::Now }, Refused::NoAddon("seats".parse().unwrap())),
        (
            Change::Grant(NewGrant { expires_at, ..grant_of(1, None) }),
            Refused::Passed(UnixMillis(START.0 - 1)),
        ),
    ];
    for (what, why) in others {
        let answer = on.store.execute(&change("acme", what), &once("x", "f")).await;
        assert_eq!(answer, Err(ExecuteError::Refused(why)));
    }
    let read = on.store.tenant(&tenant("acme")).await.unwrap();
    assert_eq!((read.version, read.value.unwrap().version), (Version(1), Version(1)));
    assert_eq!(on.store.audit(0, 100).await.unwrap().len(), 1);
    assert_eq!(on.store.changes(Version(0), 100).await.unwrap().len(), 1);
    // The key is still free, also for another request.
    let right =
        on.store.execute(&change("acme", Change::Subscribe(to("pro"))), &once("x", "g")).await.unwrap();
    assert_eq!((right.version, right.replayed), (Version(2), false));
}

async fn a_repeated_grant_is_one(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let grant = change("acme", Change::Grant(grant_of(500, Some(9))));
    let first = on.store.execute(&grant, &once("x", "f")).await.unwrap();
    assert_eq!(first.effect, Effect::GrantCreated("g2".parse().unwrap()));
    let again = on.store.execute(&grant, &once("x", "f")).await.unwrap();
    assert_eq!(again, Committed { replayed: true, ..first });
    assert_eq!(read(on, "acme").await.grants.len(), 1);
    let line = told(on, Version(2)).await.remove(0);
    assert_eq!((line.kind.as_str(), &line.detail["units"]), ("grant.created", &serde_json::json!(500)));
    assert_eq!(line.detail["reason"], "sorry for \"Monday\", ✓");
}

async fn what_happens_by_itself_is_written_once(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    make(on, "acme", Change::Subscribe(to("basic")), 0).await.unwrap();
    make(on, "acme", Change::Grant(grant_of(10, Some(3))), 0).await.unwrap();
    make(on, "acme", Change::Grant(grant_of(20, Some(3))), 0).await.unwrap();
    make(on, "acme", Change::Subscribe(Subscribe { at: When::At(at(2)), ..to("pro@4") }), 0).await.unwrap();
    let early = make(on, "acme", Change::Advance, 1).await.unwrap();
    assert_eq!((early.version, early.replayed), (Version(5), true));
    assert_eq!(on.store.due(at(2), 10).await.unwrap(), [tenant("acme")]);
    assert!(on.store.due(UnixMillis(at(2).0 - 1), 10).await.unwrap().is_empty());

    let written = make(on, "acme", Change::Advance, 5).await.unwrap();
    assert_eq!((written.version, written.effect, written.replayed), (Version(6), Effect::Updated, false));
    let lines = told(on, Version(6)).await;
    let words: Vec<_> = lines.iter().map(|line| (line.kind.as_str(), line.at)).collect();
    assert_eq!(words, [("subscription.changed", at(5)), ("grant.expired", at(5)), ("grant.expired", at(5))]);
    assert_eq!(lines[0].detail["plan_version"], 4);
    assert_eq!(lines[0].detail["at"], at(2).to_string());
    let feed = on.store.changes(Version(5), 10).await.unwrap();
    let kinds: Vec<_> = feed.iter().map(|row| (row.version.0, row.kind.as_str())).collect();
    assert_eq!(kinds, [(6, "grant.expired"), (6, "subscription.changed")]);

    let again = make(on, "acme", Change::Advance, 6).await.unwrap();
    assert_eq!((again.version, again.replayed), (Version(6), true));
    assert_eq!(on.store.tenant(&tenant("acme")).await.unwrap().version, Version(6));
    assert!(on.store.due(UnixMillis(i64::MAX), 10).await.unwrap().is_empty());
    let now = read(on, "acme").await;
    assert!(now.grants.is_empty());
    assert_eq!(now.subscription.unwrap().plan, "pro@4".parse().unwrap());
}

async fn many_at_once_write_it_once(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    make(on, "acme", Change::Subscribe(to("basic")), 0).await.unwrap();
    make(on, "acme", Change::Cancel(When::At(at(1))), 0).await.unwrap();
    // Two nodes, as far as the store can be had twice.
    let second = match on.url() {
        Some(url) => open(url).await,
        None => Arc::clone(&on.store),
    };
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(if number % 2 == 0 { &on.store } else { &second });
        writers.spawn(async move { store.execute(&change("acme", Change::Advance), &from(at(2))).await });
    }
    let all = writers.join_all().await;
    let wrote = all.iter().filter(|one| one.as_ref().is_ok_and(|one| !one.replayed)).count();
    assert_eq!(wrote, 1, "{all:?}");
    assert!(all.iter().all(|one| one.as_ref().is_ok_and(|one| one.version == Version(4))), "{all:?}");
    assert_eq!(told(on, Version(4)).await.len(), 1);
    assert_eq!(on.store.audit(0, 100).await.unwrap().len(), 4);
    let state = read(on, "acme").await.subscription.unwrap().state;
    assert_eq!(state, Standing::Canceled { at: at(1), undo: None });
}

async fn a_change_writes_down_what_was_due(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let trial = TrialOffer {
        days: 3,
        then: Some("free".parse().unwrap()),
        usage: UsageRule::Keep,
        asked: true,
        again: false,
    };
    make(on, "acme", Change::Subscribe(Subscribe { trial: Some(trial), ..to("pro") }), 0).await.unwrap();
    let late = make(on, "acme", Change::Suspend, 5).await.unwrap();
    let lines = told(on, late.version).await;
    let words: Vec<_> = lines.iter().map(|line| (line.kind.as_str(), line.source.as_str())).collect();
    assert_eq!(words, [("trial.ended", "schedule"), ("tenant.suspended", "127.0.0.1")]);
    let now = read(on, "acme").await;
    assert_eq!((now.state(), now.suspended, now.next_instant()), (State::Active, true, None));
    // A refused one leaves it for whoever comes next.
    make(on, "acme", Change::Cancel(When::At(at(7))), 5).await.unwrap();
    let refused = make(on, "acme", Change::Pause, 8).await;
    assert!(matches!(refused, Err(ExecuteError::Refused(Refused::State { from: State::Canceled, .. }))));
    assert_eq!(on.store.due(at(8), 10).await.unwrap(), [tenant("acme")]);
}

async fn a_newer_version_is_come_to_once(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let moved = |version: u32| Change::MoveVersion { to: format!("pro@{version}").parse().unwrap() };
    assert!(make(on, "acme", moved(2), 0).await.unwrap().replayed, "on no plan");
    make(on, "acme", Change::Subscribe(to("basic")), 0).await.unwrap();
    assert!(make(on, "acme", moved(2), 0).await.unwrap().replayed, "on another plan");
    make(on, "acme", Change::Subscribe(to("pro")), 0).await.unwrap();
    let first = make(on, "acme", moved(3), 1).await.unwrap();
    assert_eq!((first.version, first.replayed), (Version(4), false));
    for older in [3, 2, 1] {
        let again = make(on, "acme", moved(older), 2).await.unwrap();
        assert_eq!((again.version, again.replayed), (Version(4), true), "to {older}");
    }
    let on_plan = read(on, "acme").await.subscription.unwrap();
    assert_eq!((on_plan.plan, on_plan.since), ("pro@3".parse().unwrap(), START));
    let line = told(on, Version(4)).await.remove(0);
    assert_eq!((line.kind.as_str(), &line.detail["plan_version"]), ("plan.moved", &serde_json::json!(3)));
}

async fn months_are_rolled_over_once(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    make(on, "acme", Change::Subscribe(to("pro")), 0).await.unwrap();
    let subscription = read(on, "acme").await.subscription.unwrap();
    let month = subscription.calendar(&Zone::UTC).month(START);
    assert_eq!(subscription.rolls_at, month.end);
    // 90 of 100 units are taken: 85 used, and 5 leased and not returned.
    let bucket = BucketKey { start: month.start, ..bucket("acme", subscription.epoch.0) };
    let of_month = |totals| SlotTotals { end: month.end, ..totals };
    on.store.grant(&[ask(of_month(totals(&bucket, 1, 0, 0)), Version(2), 0, 85)]).await.unwrap();
    on.store.flush(&[sealed(of_month(totals(&bucket, 1, 85, 0)))]).await.unwrap();
    on.store.grant(&[ask(of_month(totals(&bucket, 2, 0, 0)), Version(2), 0, 5)]).await.unwrap();

    let late = from(UnixMillis(month.end.0 + 20_000));
    let tokens = RolloverRule {
        meter: "ai_tokens".parse().unwrap(),
        ..rule(1_000, Rollover::Units(Units::saturating(300)))
    };
    let over = change("acme", Change::RollOver { rules: vec![rule(100, Rollover::Percent(20)), tokens] });
    assert!(
        on.store.execute(&over, &from(UnixMillis(month.end.0 - 1))).await.unwrap().replayed,
        "it runs yet"
    );
    let rolled = on.store.execute(&over, &late).await.unwrap();
    assert_eq!((rolled.version, rolled.effect, rolled.replayed), (Version(3), Effect::Updated, false));
    assert!(on.store.execute(&over, &late).await.unwrap().replayed);
    let now = read(on, "acme").await;
    let given: Vec<_> =
        now.grants.iter().map(|grant| (grant.id.as_str(), grant.meter.as_str(), grant.units.get())).collect();
    assert_eq!(given, [("r3.0", "requests", 10), ("r3.1", "ai_tokens", 300)]);
    let next = subscription.calendar(&Zone::UTC).month(month.end);
    assert!(now.grants.iter().all(|grant| grant.expires_at == Some(next.end) && grant.since == next.start));
    assert_eq!(now.subscription.unwrap().rolls_at, next.end);
    let line = told(on, Version(3)).await.remove(0);
    assert_eq!(line.detail, serde_json::json!({ "units": { "requests": 10, "ai_tokens": 300 } }));

    // With the next month's end they are lost. Of a month that has long passed nothing is left.
    let much_later = from(UnixMillis(next.end.0 + 40 * DAY));
    assert!(!on.store.execute(&over, &much_later).await.unwrap().replayed);
    let now = read(on, "acme").await;
    assert!(now.grants.is_empty());
    assert!(now.subscription.unwrap().rolls_at > much_later.at);
    let kinds: Vec<String> = told(on, Version(4)).await.into_iter().map(|line| line.kind).collect();
    assert_eq!(kinds, ["grant.expired", "grant.expired", "quota.rolled_over"]);
}

async fn nothing_is_left_of_a_deleted_tenant(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let trial = TrialOffer { days: 3, then: None, usage: UsageRule::Keep, asked: true, again: false };
    make(on, "acme", Change::Subscribe(Subscribe { trial: Some(trial), ..to("pro") }), 0).await.unwrap();
    make(on, "acme", Change::Grant(grant_of(500, Some(9))), 0).await.unwrap();
    make(on, "acme", Change::Attach { addon: "seats".parse().unwrap(), quantity: 3 }, 0).await.unwrap();
    make(on, "acme", Change::SetOverrides(Overrides::default()), 0).await.unwrap();
    make(on, "acme", Change::DeleteTenant, 0).await.unwrap();
    assert!(on.store.due(UnixMillis(i64::MAX), 10).await.unwrap().is_empty());
    assert!(on.store.tenants_by_plan().await.unwrap().is_empty());
    done(&*on.store, &put("acme")).await;
    let again = read(on, "acme").await;
    assert_eq!(again, Tenant { version: Version(7), ..Tenant::new(tenant("acme"), START) });
    assert!(on.store.grants(&tenant("acme"), None, 10).await.unwrap().is_empty());
}
