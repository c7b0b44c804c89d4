//! The plans of the simulated year.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    domain::{catalog::Catalog, revision::PolicyFiles},
    policy::Compiler,
    ports::PolicyCompiler,
};

const FILES: [(&str, &str); 8] = [
    (
        "features.yaml",
        "meters:\n  ai_tokens: { title: Tokens, unit: token }\n  requests: { title: Requests, unit: request }\n",
    ),
    ("routes.yaml", "routes: []\n"),
    (
        "plans/free.yaml",
        "plan: free\nquotas:\n  requests: { limit: 300 }\n  ai_tokens: { limit: 2000, day: 1500 }\n",
    ),
    (
        "plans/basic.yaml",
        "plan: basic\nprice: { amount: \"19.90\", currency: USD }\nquotas:\n  requests: { limit: 500, overage: { mode: allow, cap: 200 } }\n  \
         ai_tokens: { limit: 3000, overage: { mode: bill, price: \"0.013\", per: 10, cap: 4000 } }\n",
    ),
    (
        "plans/pro.yaml",
        "plan: pro\nprice: { amount: \"99.00\", currency: USD }\nspend_cap: \"25.00\"\nquotas:\n  \
         requests: { limit: 900, overage: { mode: bill, price: \"0.05\", per: 1 } }\n  \
         ai_tokens: { limit: 6000, rollover: { max: 20% }, overage: { mode: bill, price: \"0.002\", per: 1, cap: 50000 } }\n",
    ),
    (
        "plans/max.yaml",
        "plan: max\nprice: { amount: \"499.99\", currency: USD }\nquotas:\n  requests: { limit: unlimited }\n  \
         ai_tokens: { limit: 20000, overage: { mode: bill, price: \"1\", per: 1000 } }\n",
    ),
    (
        "addons/boost.yaml",
        "addon: boost\nprice: { amount: \"7.77\", currency: USD }\nquotas:\n  requests: { limit: 100 }\n",
    ),
    (
        "stripe.yaml",
        "meters:\n  requests: { event_name: requests_used, count: all }\n  ai_tokens: { event_name: tokens_over, count: overage }\n",
    ),
];

/// The catalog of it.
pub(super) fn catalog() -> Arc<Catalog> {
    let files: BTreeMap<_, _> =
        FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let compiled = Compiler.compile(&PolicyFiles(files));
    Arc::new(compiled.unwrap_or_else(|findings| panic!("{findings:?}")).0)
}
