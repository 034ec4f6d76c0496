-- no-transaction
-- Runs that were set aside and are not over, of each org, newest first: there are few, and operators ask for them.
CREATE INDEX CONCURRENTLY runs_aside ON runs (org_id, created_at DESC, id DESC) WHERE set_aside <> '' AND ended_at IS NULL;
