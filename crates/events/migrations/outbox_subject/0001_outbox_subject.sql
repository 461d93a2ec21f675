-- For consumers that miss some of an aggregate's events.
CREATE INDEX outbox_subject ON outbox (subject, version);
