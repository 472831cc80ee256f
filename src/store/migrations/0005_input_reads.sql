-- How often the reading of an input was begun.
ALTER TABLE batches ADD COLUMN reads BIGINT NOT NULL DEFAULT 0;
