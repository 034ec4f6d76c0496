-- Every list, with any filter, is a range of one index, in its order: a page costs a page, whatever else there is. As in 0006 an
-- index that could be taken for the wrong question stands under a condition that is always true, and only the statement that means
-- it says so. Lists are never ordered by the primary key alone: that index has the order of every org's rows, and a planner may
-- think that walking along it is cheap.

-- Runs by their time, of one state each; a list of several states, or of all, is those ranges merged. It takes the place of
-- runs_newest, so a run's three transitions write no more entries than before.
DROP INDEX runs_newest;
CREATE INDEX runs_of_state ON runs (org_id, state, created_at DESC, id DESC) WHERE created_at > '-infinity';
-- The same within a thread. Only of runs that are over: one entry per run, written at its end. The few that are open are found by
-- the gate and the queue.
CREATE INDEX runs_over_of_thread ON runs (thread_id, state, turn_number DESC) WHERE ended_at IS NOT NULL;
-- READY runs by how long they are: what is looked at for runs that nobody serves. One entry per run, gone with its claim.
CREATE INDEX runs_ready_since ON runs (changed_at, id) WHERE state = 'ready' AND changed_at > '-infinity';

-- A thread's `updated_at` changes with every message, so each of these costs an entry per message. There is none to save: a list
-- by person, by agent or by both is a range of an index of its own or a walk through all of the org's threads.
CREATE INDEX threads_of_user ON threads (org_id, user_id, updated_at DESC, id DESC)
    WHERE deleted_at IS NULL AND updated_at > '-infinity';
CREATE INDEX threads_of_agent ON threads (org_id, agent_id, updated_at DESC, id DESC)
    WHERE deleted_at IS NULL AND updated_at < 'infinity';
CREATE INDEX threads_of_user_and_agent ON threads (org_id, user_id, agent_id, updated_at DESC, id DESC)
    WHERE deleted_at IS NULL AND created_at < 'infinity';

-- The inbox is read in the order of its questions' times.
DROP INDEX pending_actions_org;
CREATE INDEX pending_actions_oldest ON pending_actions (org_id, created_at, id) WHERE state = 'pending';

DROP INDEX agents_newest;
CREATE INDEX agents_newest ON agents (org_id, created_at DESC, id DESC) WHERE deleted_at IS NULL AND created_at > '-infinity';
-- Deleted ones too: how many of a name there were says the id of the next.
CREATE INDEX agents_ever ON agents (org_id, name) WHERE created_at < 'infinity';

CREATE INDEX members_oldest ON members (org_id, created_at, user_id);
CREATE INDEX members_admins ON members (org_id, user_id) WHERE role = 'admin';

-- Whom a session may serve, in one value that an index can hold: its org, every org (all zeros), or several (all ones). It never
-- changes, and `lost_at` changes once, so heartbeats stay updates that touch no index.
ALTER TABLE worker_sessions ADD COLUMN serves_org uuid NOT NULL GENERATED ALWAYS AS (
    CASE WHEN orgs IS NULL THEN '00000000-0000-0000-0000-000000000000'::uuid
         WHEN cardinality(orgs) = 1 THEN orgs[1]
         ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid END) STORED;
CREATE INDEX worker_sessions_live ON worker_sessions (serves_org, opened_at DESC, id DESC) WHERE lost_at IS NULL;
CREATE INDEX worker_sessions_lost ON worker_sessions (serves_org, lost_at DESC) WHERE lost_at IS NOT NULL;
CREATE INDEX worker_sessions_drained ON worker_sessions (lost_at) WHERE drained;

-- Keys are purged oldest first, each read once. Keys come in the order of time, so this index grows at its right end only.
DROP INDEX idempotency_keys_oldest;
CREATE INDEX idempotency_keys_oldest ON idempotency_keys (created_at);
-- The purged ones stand in front of those that are next, so they must be swept before they are many.
ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000);
