-- What policies that are tried in the shadow would have decided otherwise. A trial is named by the version with which it
-- began. Each run of a node has rows of its own, with all that it has counted.

-- `tenant`: nothing where nobody was identified, `*` for all that there was no room to count by themselves.
CREATE TABLE policy_shadow (
    trial       INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    route       TEXT NOT NULL,
    enforced    TEXT NOT NULL,
    candidate   TEXT NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (trial, incarnation, tenant, route, enforced, candidate)
);

CREATE TABLE policy_shadow_totals (
    trial         INTEGER NOT NULL,
    incarnation   TEXT NOT NULL,
    compared      INTEGER NOT NULL,
    differing     INTEGER NOT NULL,
    newly_refused INTEGER NOT NULL,
    newly_allowed INTEGER NOT NULL,
    uncompared    INTEGER NOT NULL,
    at_ms         INTEGER NOT NULL,
    PRIMARY KEY (trial, incarnation)
);
