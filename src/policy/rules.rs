//! Every kind of finding by its stable name, with what it means: the rules that code scanning lists.

use super::diagnostic::Severity::{self, Error, Warning};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its stable name.
    pub code: &'static str,
    /// How bad it is, as a rule: `duplicate-name` is a warning among cases.
    pub severity: Severity,
    /// What it means, in one sentence.
    pub summary: &'static str,
}

const fn error(code: &'static str, summary: &'static str) -> Rule {
    Rule { code, severity: Error, summary }
}

const fn warning(code: &'static str, summary: &'static str) -> Rule {
    Rule { code, severity: Warning, summary }
}

/// The rule of a code.
#[must_use]
pub fn rule(code: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.code == code)
}

/// All kinds of findings, by what they are about.
pub const RULES: &[Rule] = &[
    // The folder and its files.
    error("folder-missing", "The policy folder, or a folder in it, is not there."),
    error("folder-unreadable", "A folder cannot be read."),
    error("too-many-files", "A folder holds more files than are read."),
    error("file-missing", "A file that every policy folder needs is not there."),
    error("file-unreadable", "A file cannot be read."),
    error("file-not-regular", "A policy file is a folder, a pipe or a device."),
    error("file-too-large", "A file is larger than is read."),
    error("file-not-utf8", "A file is not UTF-8."),
    error("file-empty", "A file says nothing."),
    warning("file-unknown", "A file is no policy file and is not read."),
    warning("too-many-findings", "There are more findings than are shown."),
    // YAML.
    error("yaml-syntax", "A file is not YAML."),
    error("yaml-documents", "A file holds more than one document."),
    error("yaml-depth", "A file is nested too deep."),
    error("yaml-size", "A file holds too many values."),
    error("yaml-alias", "An alias stands for itself, or aliases for too much."),
    error("yaml-key", "A key is not a word."),
    error("yaml-duplicate-key", "A key stands twice in one map."),
    error("yaml-merge-key", "Merge keys are not used in policy files."),
    error("yaml-tag", "Tags are not used in policy files."),
    // Shapes and values.
    error("wrong-type", "A value is of another kind than expected."),
    error("unknown-key", "A key is not known where it stands."),
    error("reserved-key", "A key is reserved for a later version."),
    error("missing-key", "A key that must be there is not."),
    error("invalid-id", "A name does not have the form of names."),
    error("invalid-text", "A text is empty, too long or not one line."),
    error("invalid-number", "A value is not a whole number within its bounds."),
    error("invalid-duration", "A value is not a span of time."),
    error("invalid-amount", "A value is not a quoted amount of money."),
    error("invalid-currency", "A value is not a currency."),
    error("too-many-names", "More names are declared than a catalog can hold."),
    error("duplicate-name", "A name stands twice in a list; or two cases have one name."),
    error("empty-list", "A list is empty that must not be."),
    error("contradiction", "Two parts of one file contradict each other."),
    // Names of one file in another.
    error("unknown-feature", "A feature is not declared in features.yaml."),
    error("unknown-limit", "A limit is not declared in features.yaml."),
    error("unknown-meter", "A meter is not declared in features.yaml."),
    error("unknown-plan", "There is no plan of that name."),
    error("unknown-addon", "There is no add-on of that name."),
    // Plans and add-ons.
    error("plan-name-mismatch", "A plan has another name than its file."),
    error("addon-name-mismatch", "An add-on has another name than its file."),
    error("plan-cycle", "Plans extend each other in a circle."),
    error("invalid-existing", "It is not said clearly when tenants on older versions come to the new one."),
    error("invalid-change", "It is not said clearly when a change of plans comes into force."),
    error("invalid-usage", "It is not said clearly what becomes of the units used in a trial."),
    error("invalid-warning", "It is not said clearly at how much of something somebody is to be warned."),
    error("invalid-overage", "An overage contradicts its mode."),
    error("invalid-rollover", "Unused units cannot be carried over so."),
    error("addon-quota", "An add-on's quota has what only a plan's may have."),
    warning("addon-without-effect", "An add-on adds nothing."),
    warning("existing-without-effect", "No tenant can be on an older version yet."),
    warning("without-effect", "What is taken away was not there."),
    warning("overage-without-currency", "An overage has a price, its plan no currency."),
    warning(
        "spend-cap-without-effect",
        "A spend cap bounds nothing: the plan has no currency, or bills no overage.",
    ),
    warning(
        "spend-cap-inexact",
        "A unit of overage costs no whole number of billionths, and counts as more under a spend cap.",
    ),
    warning("overage-never-reached", "There is no overage beyond `unlimited`."),
    warning("window-never-reached", "A longer window ends before a shorter one."),
    warning("rollover-of-nothing", "At most nothing is carried over."),
    warning("burst-of-nothing", "A burst of 0 lets nothing pass."),
    warning("rate-without-quota", "A plan has a rate for a meter that it has no quota for."),
    warning("charge-above-burst", "A request costs more than a plan's burst ever allows."),
    warning("plan-out-of-reach", "Nothing in the policies leads to a plan."),
    warning("cheaper-has-more", "A plan has less than one that costs less."),
    // Stripe.
    error("invalid-stripe-name", "A price's id, a lookup key or an event's name cannot be one."),
    error("invalid-sale", "It is not said clearly whether a price sells a plan or an add-on."),
    error("invalid-count", "It is not said clearly which units are told to Stripe."),
    warning("plan-not-sold", "A plan has a price, and no price of Stripe sells it."),
    // Routes.
    error("invalid-unmatched", "It is not said clearly what becomes of requests that no route covers."),
    error("invalid-route", "A route's path cannot be matched."),
    error("invalid-method", "A route's method cannot be matched."),
    error("invalid-header", "A header's name is not one."),
    error("public-route", "A public route cannot require or charge anything."),
    error("route-conflict", "Two routes fit the very same requests."),
    error("invalid-condition", "A text is no condition or amount in CEL."),
    error("condition-type", "A part of a condition has another type than is needed there."),
    error("condition-cost", "A condition could cost too much."),
    error("unknown-variable", "A condition asks for something that there is not."),
    error("unknown-function", "A condition calls a function that there is not."),
    error("unknown-attribute", "A condition asks for an attribute that is not declared."),
    error("hidden-header", "A condition asks for a header that no condition sees."),
    warning("unknown-value", "A condition compares an attribute with what it never is."),
    error("invalid-attribute", "An attribute cannot have this name, type or value."),
    warning("literal-look-alike", "Another router's notation for parameters is a literal here."),
    warning("charge-of-nothing", "A charge of 0 charges nothing."),
    warning("route-for-nobody", "No plan admits a route."),
    warning("route-hidden", "Other routes take all requests that a route fits."),
    warning("route-without-case", "No case asks for a route."),
    // Declarations.
    warning("unused-feature", "Neither plans nor routes use a feature."),
    warning("feature-without-route", "Plans have a feature that no route requires."),
    warning("unused-limit", "No plan sets a limit."),
    warning("unused-meter", "No route charges a meter."),
    // Cases.
    error("invalid-request", "A case's request is not a method and a path."),
    error("invalid-instant", "A case's instant is not one."),
    error("invalid-timezone", "A time zone is not known."),
    error("unknown-state", "A subscription has no such state."),
    error("state-without-plan", "A tenant without a plan has no state."),
    error("unknown-code", "A refusal has no such code, or none that policies lead to."),
    error("unknown-window", "A quota has no such window."),
    error("empty-step", "A step says nothing of what comes before it."),
    error("invalid-step", "A step says something that cannot happen."),
    error("step-without-tenant", "A step is about a tenant, and the case has none."),
    error("step-back-in-time", "A step would set the clock back."),
    error("too-many-steps", "A case has more steps than are carried out."),
    error("unknown-usage", "There is no such rule for the units used so far."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once_and_says_a_sentence() {
        let mut codes: Vec<_> = RULES.iter().map(|rule| rule.code).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|two| two[0] != two[1]));
        for rule in RULES {
            let fits = rule.code.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'0'..=b'9'));
            assert!(fits && rule.summary.ends_with('.'), "{rule:?}");
            assert!(rule.summary.starts_with(|c: char| c.is_ascii_uppercase()), "{rule:?}");
        }
    }
}
