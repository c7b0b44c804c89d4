//! The protocol of `docs/ledger.md` as a model that is checked exhaustively: two nodes and a database that spend, return,
//! recall, crash, lose power, fail over and change the limit, over a network that delays, reorders, repeats and loses.
//! Every promise holds in every state within the bounds, and every way of getting the protocol wrong is found.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a broken model fails the test")]

#[path = "protocol_model/database.rs"]
mod database;
#[path = "protocol_model/mutant.rs"]
mod mutant;
#[path = "protocol_model/node.rs"]
mod node;
#[path = "protocol_model/promise.rs"]
mod promise;
#[path = "protocol_model/protocol.rs"]
mod protocol;
#[path = "protocol_model/state.rs"]
mod state;

use mutant::Mutant;
use protocol::Protocol;
use state::Budget;
use stateright::{Checker, HasDiscoveries, Model};

/// The worlds that are searched: all faults at once would be too many states, so each has its own, beside the delays and
/// reorderings that all have.
fn everyday() -> Protocol {
    Protocol {
        limits: vec![2],
        words: [2, 1],
        in_flight: 2,
        faults: Budget { refunds: 1, idles: 1, ..Budget::default() },
        mutant: None,
    }
}

fn repeats() -> Protocol {
    let faults = Budget { duplicates: 1, ..Budget::default() };
    Protocol { faults, ..everyday() }
}

fn losses() -> Protocol {
    let faults = Budget { flushes: 1, losses: 1, impatience: 1, ..Budget::default() };
    Protocol { words: [1, 1], faults, ..everyday() }
}

fn crashes() -> Protocol {
    let faults = Budget { crashes: 1, ..Budget::default() };
    Protocol { faults, ..everyday() }
}

fn power_losses() -> Protocol {
    let faults = Budget { power_losses: 1, ..Budget::default() };
    Protocol { faults, ..everyday() }
}

fn declared_lost() -> Protocol {
    let faults = Budget { declared_lost: 1, ..Budget::default() };
    Protocol { faults, ..everyday() }
}

fn downgrades() -> Protocol {
    Protocol { limits: vec![2, 1], faults: Budget::default(), ..everyday() }
}

fn upgrades() -> Protocol {
    Protocol { limits: vec![1, 2], faults: Budget::default(), ..everyday() }
}

fn failovers() -> Protocol {
    let faults = Budget { failovers: 1, ..Budget::default() };
    Protocol { words: [1, 1], faults, ..everyday() }
}

/// Visits every state that the world can come to; so many at least, or something has become impossible.
fn search(name: &str, world: Protocol, at_least: usize) {
    let checker = world.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, {depth} steps deep");
    checker.assert_properties();
    assert!(states >= at_least, "only {states} states");
}

#[test]
fn spends_returns_and_recalls() {
    search("everyday", everyday(), 400_000);
}

#[test]
fn outlives_repeats_and_losses() {
    search("repeats", repeats(), 270_000);
    search("losses", losses(), 170_000);
}

#[test]
fn survives_crashes() {
    search("crashes", crashes(), 270_000);
}

#[test]
fn credits_nothing_after_a_loss_of_power() {
    search("power losses", power_losses(), 180_000);
}

#[test]
fn counts_a_lost_node_as_spent() {
    search("declared lost", declared_lost(), 125_000);
}

#[test]
fn obeys_changes_of_the_limit() {
    search("downgrades", downgrades(), 470_000);
    search("upgrades", upgrades(), 220_000);
}

#[test]
fn re_asserts_after_a_failover() {
    search("failovers", failovers(), 100_000);
}

/// Whether the checker finds that the mutant breaks a promise.
fn broken_by(mutant: Mutant, world: Protocol) -> Vec<&'static str> {
    let world = Protocol { mutant: Some(mutant), ..world };
    let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries();
    let names = found.into_iter().filter(|(name, _)| {
        !matches!(checker.discovery_classification(name), stateright::DiscoveryClassification::Example)
    });
    names.map(|(name, _)| name).collect()
}

#[test]
fn finds_every_mutant() {
    let mutants: [(Mutant, fn() -> Protocol); 16] = [
        (Mutant::GrantsRightAfterFailover, failovers),
        (Mutant::LeasesTimeOut, everyday),
        (Mutant::FileTrustedAfterPowerLoss, power_losses),
        (Mutant::WordsWithoutSeq, repeats),
        (Mutant::NodeComputesReturn, everyday),
        (Mutant::NodeSuppliesLimit, downgrades),
        (Mutant::ChangeAppliedWithoutSeal, downgrades),
        (Mutant::RefundToOpenWord, everyday),
        (Mutant::AnswerOpensSealedWord, everyday),
        (Mutant::DifferencesShipped, losses),
        (Mutant::RecallWithoutSeal, losses),
        (Mutant::LostNodeCredited, declared_lost),
        (Mutant::FormerPrimaryObeyed, failovers),
        (Mutant::GrantsRoundedDown, everyday),
        (Mutant::LateRefundsForgotten, everyday),
        (Mutant::RecordsReused, failovers),
    ];
    for (mutant, world) in mutants {
        let broken = broken_by(mutant, world());
        println!("{mutant:?}: {}", broken.join(", "));
        assert!(!broken.is_empty(), "{mutant:?} was not found");
    }
}
