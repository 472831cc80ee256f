-- Files, batches and their lines. Types are those that SQLite and PostgreSQL have in common: texts and 64-bit integers.
-- Times are milliseconds since 1970. `owner` is the name of an API key, empty if keys were off.

CREATE TABLE files (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    -- The batch whose lines it is made of; otherwise its text is in chunks.
    batch TEXT
);
CREATE INDEX files_by_owner ON files (owner, id);

-- A chunk without a row in `files` belongs to an upload that did not end.
CREATE TABLE chunks (
    file TEXT NOT NULL,
    number BIGINT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (file, number)
);

CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    input_file TEXT NOT NULL,
    output_file TEXT,
    error_file TEXT,
    status TEXT NOT NULL,
    metadata TEXT NOT NULL,
    -- Why the input was refused: a JSON list.
    errors TEXT,
    total BIGINT NOT NULL DEFAULT 0,
    completed BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    in_progress_at BIGINT,
    cancelling_at BIGINT,
    ended_at BIGINT,
    expires_at BIGINT NOT NULL,
    -- Who reads the input.
    worker TEXT
);
CREATE INDEX batches_by_owner ON batches (owner, id);
CREATE INDEX batches_by_status ON batches (status, id);

CREATE TABLE lines (
    batch TEXT NOT NULL,
    number BIGINT NOT NULL,
    custom_id TEXT NOT NULL,
    url TEXT NOT NULL,
    -- The request; empty once it is answered.
    body TEXT NOT NULL,
    -- Who works on it.
    worker TEXT,
    -- How often it was begun.
    attempts BIGINT NOT NULL DEFAULT 0,
    -- `ok` or an error code, once it is answered.
    outcome TEXT,
    -- Its line in the output, without the line break, and the bytes of that.
    answer TEXT,
    size BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, number)
);
CREATE UNIQUE INDEX lines_by_custom_id ON lines (batch, custom_id);
CREATE INDEX lines_to_do ON lines (batch, number) WHERE outcome IS NULL;

-- Processes that work on lines, and until when each counts as alive.
CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    alive_until BIGINT NOT NULL
);

-- Answers to requests with an Idempotency-Key.
CREATE TABLE idempotent (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    -- The SHA-256 of what was asked.
    request TEXT NOT NULL,
    -- The id of what was made.
    made TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
