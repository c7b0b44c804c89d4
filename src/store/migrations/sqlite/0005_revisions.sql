-- Policies in the database: the files by their digest, and which of them decided when.

CREATE TABLE policy_files (
    digest TEXT PRIMARY KEY,
    files  TEXT NOT NULL
);

-- The last row says what decides. `rollout` is how `candidate` is tried.
CREATE TABLE policy_revisions (
    number    INTEGER PRIMARY KEY,
    version   INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    enforced  TEXT NOT NULL REFERENCES policy_files (digest),
    candidate TEXT REFERENCES policy_files (digest),
    rollout   TEXT,
    message   TEXT,
    author    TEXT,
    at_ms     INTEGER NOT NULL
);

-- The version of the last of them: what a grant's limit must have been compiled by.
ALTER TABLE head ADD COLUMN policies INTEGER NOT NULL DEFAULT 0;
