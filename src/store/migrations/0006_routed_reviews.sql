-- What a review that routing asked for is about: of each owner's, it is asked for once.
ALTER TABLE reviews ADD COLUMN item TEXT;
CREATE UNIQUE INDEX reviews_by_item ON reviews (owner, item);
