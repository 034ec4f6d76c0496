-- no-transaction
-- As runs_lanes, for worker sessions that serve some agents only.
CREATE INDEX CONCURRENTLY runs_agent_lanes ON runs (agent_id, needs, user_id, priority DESC, created_at)
    WHERE CASE WHEN kind = 'turn' AND state = 'ready' AND set_aside = '' THEN true END;
