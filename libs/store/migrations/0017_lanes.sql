-- no-transaction
-- The READY turns that a claim may take, by what a worker must have for them. Said in a way that no other index says it, so that
-- the planner has one way in.
CREATE INDEX CONCURRENTLY runs_lanes ON runs (org_id, needs, user_id, priority DESC, created_at)
    WHERE CASE WHEN kind = 'turn' AND state = 'ready' AND set_aside = '' THEN true END;
