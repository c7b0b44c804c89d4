-- What policies that are tried in the shadow would have decided otherwise. A trial is named by the version with which it
-- began. Each run of a node has rows of its own, with all that it has counted.

-- `tenant`: nothing where nobody was identified, `*` for all that there was no room to count by themselves.
CREATE TABLE policy_shadow (
    trial       BIGINT NOT NULL,
    incarnation TEXT COLLATE "C" NOT NULL,
    tenant      TEXT COLLATE "C" NOT NULL,
    route       TEXT COLLATE "C" NOT NULL,
    enforced    TEXT COLLATE "C" NOT NULL,
    candidate   TEXT COLLATE "C" NOT NULL,
    count       BIGINT NOT NULL,
    PRIMARY KEY (trial, incarnation, tenant, route, enforced, candidate)
);

CREATE TABLE policy_shadow_totals (
    trial         BIGINT NOT NULL,
    incarnation   TEXT COLLATE "C" NOT NULL,
    compared      BIGINT NOT NULL,
    differing     BIGINT NOT NULL,
    newly_refused BIGINT NOT NULL,
    newly_allowed BIGINT NOT NULL,
    uncompared    BIGINT NOT NULL,
    at_ms         BIGINT NOT NULL,
    PRIMARY KEY (trial, incarnation)
);
