-- What was sold last: of plan versions what lets more through than is included, of add-ons what they cost, and meters.
CREATE TABLE sold_terms (
    kind    TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    terms   TEXT NOT NULL,
    PRIMARY KEY (kind, id, version)
);
