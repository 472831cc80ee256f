-- Verdicts with their requests, if the log of verdicts is on.
CREATE TABLE verdicts (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    route TEXT NOT NULL,
    rubric TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    verdict TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX verdicts_by_time ON verdicts (created_at);
CREATE INDEX verdicts_by_owner ON verdicts (owner, id);
