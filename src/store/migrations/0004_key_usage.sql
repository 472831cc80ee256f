-- What API keys have used, by name. Each process adds what it has counted.
CREATE TABLE key_usage (
    key TEXT PRIMARY KEY,
    -- When the first process began to count.
    since BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    judgements BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL
);
