-- no-transaction
CREATE INDEX CONCURRENTLY runs_canceling ON runs (cancel_at) WHERE state = 'running' AND cancel IS NOT NULL;
