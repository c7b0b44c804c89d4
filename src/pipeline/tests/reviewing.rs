//! Exchanges that go on are decided again, by what holds then, and cost nothing more.

use std::sync::Arc;

use super::{
    super::{observe::Mode, request::Rejection, review::*},
    scene::{Fakes, Scene, catalog, sample},
};
use crate::{
    domain::{
        catalog::{Catalog, Stamp, Unmatched},
        denial::Denial,
        features::FeatureSet,
        route::{Methods, Pattern, RouteTable},
        time::{UnixMillis, Version},
    },
    ports::{CredentialError, Policies, ResolveError},
};

struct Other(Arc<Catalog>);

impl Policies for Other {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }
}

/// An exchange of a request to a path, as it was let in.
async fn exchange(scene: &Scene, path: &str) -> Option<Case> {
    assert_eq!(scene.get(path).await.status(), 200);
    let admission = scene.told().admission.take()?;
    scene.log();
    Some(admission.case(UnixMillis(0)))
}

async fn ask<P: Policies>(scene: &Scene, policies: Arc<P>, case: Case) -> Result<Reviewed, Rejection> {
    let (authenticator, directory) = (Arc::clone(&scene.fakes), Arc::clone(&scene.fakes));
    Reviewer::<P, Fakes, Fakes> { policies, authenticator, directory }.review(case).wait().await
}

async fn again(scene: &Scene, path: &str) -> Result<Reviewed, Rejection> {
    let case = exchange(scene, path).await.unwrap();
    ask(scene, Arc::clone(&scene.fakes), case).await
}

#[tokio::test]
async fn what_still_holds_goes_on_and_costs_nothing() {
    for slow in [false, true] {
        let scene = Scene::new();
        let case = exchange(&scene, "/items/1").await.unwrap();
        scene.told().slow = slow;
        let reviewed = ask(&scene, Arc::clone(&scene.fakes), case).await.unwrap();
        assert_eq!(reviewed.verified, Version(1));
        let log = scene.log();
        assert!(log.iter().all(|what| what == "stands" || what == "resolve"), "{log:?}");
    }
}

#[tokio::test]
async fn what_would_be_refused_is_refused_for_the_same_reason() {
    let scene = Scene::new();
    scene.told().plan = "rich";
    let case = exchange(&scene, "/chat").await.unwrap();
    scene.told().plan = "basic";
    let refused = ask(&scene, Arc::clone(&scene.fakes), case).await.err().unwrap();
    assert!(matches!(refused, Rejection::Denied(Denial::FeatureNotInPlan { .. })), "{refused:?}");

    let case = exchange(&scene, "/items/1").await.unwrap();
    scene.told().credential = Some(CredentialError::Expired);
    let refused = ask(&scene, Arc::clone(&scene.fakes), case).await.err().unwrap();
    assert_eq!(refused, Rejection::Credential(CredentialError::Expired));
    scene.told().credential = None;

    let case = exchange(&scene, "/items/1").await.unwrap();
    scene.told().unresolved = Some(ResolveError::TenantUnknown);
    let refused = ask(&scene, Arc::clone(&scene.fakes), case).await.err().unwrap();
    assert_eq!(refused, Rejection::Resolve(ResolveError::TenantUnknown));
}

#[tokio::test]
async fn a_node_that_is_behind_catches_up_first() {
    let scene = Scene::new();
    let case = exchange(&scene, "/items/1").await.unwrap();
    scene.told().behind = Some(Ok(()));
    assert!(ask(&scene, Arc::clone(&scene.fakes), case).await.is_ok());
    assert_eq!(scene.log(), ["catch up", "stands", "resolve"]);
    let case = exchange(&scene, "/items/1").await.unwrap();
    scene.told().behind = Some(Err(ResolveError::Unavailable));
    let refused = ask(&scene, Arc::clone(&scene.fakes), case).await.err().unwrap();
    assert_eq!(refused, Rejection::Resolve(ResolveError::Unavailable));
}

/// The catalog as it would be with other routes.
fn with_routes(routes: &[(&str, bool)], unmatched: Unmatched) -> Arc<Other> {
    let none = FeatureSet::empty(1);
    let mut chat = none.clone();
    chat.insert(crate::domain::features::FeatureIx(0));
    let mut table = RouteTable::default();
    for (path, needs_chat) in routes {
        let features = if *needs_chat { chat.clone() } else { none.clone() };
        let operation = super::scene::operation(path, false, features, 1);
        table.add(&Methods::Any, &Pattern::parse(path).unwrap(), operation).unwrap();
    }
    let before = catalog(Unmatched::Deny);
    Arc::new(Other(Arc::new(Catalog { stamp: Stamp::new(), routes: table, unmatched, ..before })))
}

#[tokio::test]
async fn other_policies_count_too() {
    let scene = Scene::new();
    let decided = async |routes: &[(&str, bool)], unmatched| {
        let case = exchange(&scene, "/items/1").await.unwrap();
        ask(&scene, with_routes(routes, unmatched), case).await
    };
    // In another place of the table, as it was.
    assert!(decided(&[("/a", true), ("/items/{id}", false)], Unmatched::Deny).await.is_ok());
    let refused = decided(&[("/items/{id}", true)], Unmatched::Deny).await.err().unwrap();
    assert!(matches!(refused, Rejection::Denied(Denial::FeatureNotInPlan { .. })), "{refused:?}");
    let refused = decided(&[("/other", false)], Unmatched::Deny).await.err().unwrap();
    assert_eq!(refused, Rejection::Denied(Denial::RouteNotCovered));
    let anything = super::scene::operation("", false, FeatureSet::empty(1), 1);
    assert!(decided(&[("/other", false)], Unmatched::Allow(anything)).await.is_ok());
}

#[tokio::test]
async fn nobody_ends_what_is_only_observed_or_public() {
    let mut scene = Scene::new();
    assert!(exchange(&scene, "/open").await.is_none());
    assert!(again(&scene, "/items/1").await.is_ok());
    scene.mode = Mode::Observe;
    assert!(exchange(&scene, "/items/1").await.is_none());
    assert!(exchange(&scene, "/chat").await.is_none());
}

#[tokio::test]
async fn an_end_is_counted_and_what_passes_is_tried_again() {
    let scene = Scene::new();
    assert_eq!(scene.get("/items/1").await.status(), 200);
    let ended = |scene: &Scene| sample(&scene.metrics, "plangate_streams_ended_total");
    let mut ongoing = scene.told().admission.take().unwrap().ongoing();
    let mut look = || futures_util::FutureExt::now_or_never(std::future::poll_fn(|cx| ongoing.look_now(cx)));
    assert_eq!(look(), None);
    scene.told().unresolved = Some(ResolveError::Unavailable);
    for _ in 0..3 {
        assert_eq!(look(), None, "it may pass");
    }
    assert_eq!(ended(&scene), 0);
    assert_eq!(look(), Some(Rejection::Resolve(ResolveError::Unavailable)));
    assert_eq!(ended(&scene), 1);
}
