-- Judgements that people are asked for, and what they say.
CREATE TABLE reviews (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    -- `absolute` or `relative`.
    kind TEXT NOT NULL,
    -- The JSON of the grading request, and of the judge's verdict if there is one.
    request TEXT NOT NULL,
    verdict TEXT,
    -- How many people are to label it.
    wanted BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE seats (
    review TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    -- `claimed`, `labelled` or `skipped`.
    state TEXT NOT NULL,
    -- Until when it is claimed.
    until BIGINT NOT NULL,
    label TEXT,
    note TEXT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (review, reviewer)
);
