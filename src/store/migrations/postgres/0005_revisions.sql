-- Policies in the database: the files by their digest, and which of them decided when.

CREATE TABLE policy_files (
    digest TEXT COLLATE "C" PRIMARY KEY,
    files  TEXT NOT NULL
);

-- The last row says what decides. `rollout` is how `candidate` is tried.
CREATE TABLE policy_revisions (
    number    BIGINT PRIMARY KEY,
    version   BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    enforced  TEXT COLLATE "C" NOT NULL REFERENCES policy_files (digest),
    candidate TEXT COLLATE "C" REFERENCES policy_files (digest),
    rollout   TEXT,
    message   TEXT,
    author    TEXT,
    at_ms     BIGINT NOT NULL
);

-- The version of the last of them: what a grant's limit must have been compiled by.
ALTER TABLE head ADD COLUMN policies BIGINT NOT NULL DEFAULT 0;
