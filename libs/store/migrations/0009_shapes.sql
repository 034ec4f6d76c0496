-- The shapes that jobs, approvals, budgets and steering build on, in one migration while nobody runs an older one.

-- A run is a turn of its thread or a background job. Only turns hold a thread, wait in its queue and count against the limits of
-- turns, so every index and statement about these names the kind.
-- `turn_number` is the order of acceptance, `rank` the order of the queue, and `place` the order of the conversation: it is given
-- when a turn starts, or when a turn ends without having started.
ALTER TABLE runs
    ADD COLUMN kind text NOT NULL DEFAULT 'turn' CHECK (kind IN ('turn', 'background')),
    ADD COLUMN place bigint CHECK (place >= 1),
    ADD COLUMN rank bigint NOT NULL DEFAULT 0,
    ADD COLUMN priority smallint NOT NULL DEFAULT 0,
    -- A READY run is claimed no earlier than this; at once when it is null.
    ADD COLUMN not_before timestamptz,
    -- How somebody wants the run to end, who that is (null: runmesh itself), and since when.
    ADD COLUMN cancel text CHECK (cancel IN ('now', 'after_step')),
    ADD COLUMN cancel_by uuid,
    ADD COLUMN cancel_at timestamptz,
    -- Attempts in a row that ended by a cut stream or a release without a journaled step. Those that ended by a lost lease are in
    -- `barren_attempts`.
    ADD COLUMN cut_attempts integer NOT NULL DEFAULT 0 CHECK (cut_attempts >= 0),
    -- When the current attempt began or last journaled something.
    ADD COLUMN progress_at timestamptz,
    -- What the journal holds. Both are bounded.
    ADD COLUMN journal_bytes bigint NOT NULL DEFAULT 0 CHECK (journal_bytes >= 0),
    ADD COLUMN journal_calls integer NOT NULL DEFAULT 0 CHECK (journal_calls >= 0),
    -- Why no worker gets the run until an operator ends it; empty for nearly every run.
    ADD COLUMN set_aside text NOT NULL DEFAULT '';

UPDATE runs SET rank = turn_number, progress_at = claimed_at;
UPDATE runs SET cancel = 'now', cancel_at = changed_at WHERE cancel_requested;
UPDATE runs SET place = turn_number WHERE state <> 'queued';
ALTER TABLE runs DROP COLUMN cancel_requested;

ALTER TABLE runs
    DROP CONSTRAINT runs_turn_number_check,
    ADD CONSTRAINT only_turns_have_a_number CHECK ((kind = 'turn') = (turn_number >= 1) AND turn_number >= 0),
    ADD CONSTRAINT cancel_is_whole CHECK ((cancel IS NULL) = (cancel_at IS NULL)),
    ADD CONSTRAINT started_turns_have_a_place CHECK (kind <> 'turn' OR state = 'queued' OR place IS NOT NULL);

DROP INDEX runs_gate, runs_queue, runs_ready, runs_running, runs_open;
-- The thread gate (R3): a constraint, not a convention.
CREATE UNIQUE INDEX runs_gate ON runs (thread_id) WHERE kind = 'turn' AND state IN ('ready', 'running', 'waiting');
CREATE INDEX runs_queue ON runs (thread_id, rank) WHERE kind = 'turn' AND state = 'queued';
CREATE INDEX runs_ready ON runs (org_id, user_id, priority DESC, created_at) WHERE kind = 'turn' AND state = 'ready' AND set_aside = '';
CREATE INDEX runs_running ON runs (org_id, user_id) WHERE kind = 'turn' AND state = 'running';
-- Turns that wait for nobody: what the limits of open turns count. A paused turn costs its sender nothing.
CREATE INDEX runs_unpaused ON runs (org_id, user_id) WHERE kind = 'turn' AND state IN ('queued', 'ready', 'running');
-- The same runs as those in an open state (see ended_has_time). Said in another way so that the planner cannot take this
-- index for look-ups by state, which have better ones.
CREATE INDEX runs_open ON runs (org_id, user_id) WHERE ended_at IS NULL;
CREATE INDEX runs_set_aside ON runs (org_id, id) WHERE set_aside <> '' AND ended_at IS NULL;
-- Turns in the order of the conversation.
CREATE UNIQUE INDEX runs_place ON runs (thread_id, place) WHERE place >= 1;

-- Messages of a thread and the places of its turns are counted by the thread.
ALTER TABLE threads ADD COLUMN next_place bigint NOT NULL DEFAULT 1 CHECK (next_place >= 1);

-- `internal`: the model sees it and people do not. `withdrawn`: people see it and the model does not, because its turn ended
-- before it started.
ALTER TABLE messages
    DROP CONSTRAINT messages_order,
    DROP CONSTRAINT messages_role_check,
    DROP COLUMN place;
ALTER TABLE messages
    ADD COLUMN place bigint CHECK (place >= 1),
    ADD COLUMN internal boolean NOT NULL DEFAULT false,
    ADD COLUMN withdrawn boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT messages_role CHECK (role IN ('user', 'assistant', 'tool'));
UPDATE messages SET place = turn_number * 2 + (role = 'assistant')::int - 1 WHERE placed;
UPDATE messages m SET place = m.turn_number * 2 - 1, withdrawn = true FROM runs r
    WHERE r.id = m.run_id AND NOT m.placed AND r.ended_at IS NOT NULL;
UPDATE runs SET place = turn_number * 2 - 1 WHERE place IS NOT NULL;
UPDATE threads SET next_place = next_turn * 2 - 1;
ALTER TABLE messages DROP COLUMN placed;
CREATE UNIQUE INDEX messages_order ON messages (thread_id, place) WHERE place >= 1;
-- Messages whose turn has not started.
CREATE UNIQUE INDEX messages_waiting ON messages (thread_id, turn_number) WHERE place IS NULL;

-- Who made a transition: a person, a worker session, or runmesh itself.
ALTER TABLE run_transitions
    ADD COLUMN actor_kind text NOT NULL DEFAULT 'system' CHECK (actor_kind IN ('system', 'user', 'worker')),
    ADD COLUMN actor_id uuid,
    ADD CONSTRAINT actor_is_whole CHECK ((actor_kind = 'system') = (actor_id IS NULL));

-- Tokens of every model call. `path` is that of the journal.
CREATE TABLE usage (
    run_id uuid NOT NULL,
    path text NOT NULL DEFAULT '',
    step_index integer NOT NULL CHECK (step_index >= 1),
    org_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    user_id uuid NOT NULL,
    model text NOT NULL,
    input_tokens bigint NOT NULL CHECK (input_tokens >= 0),
    output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
    at timestamptz NOT NULL,
    PRIMARY KEY (run_id, path, step_index)
);
CREATE INDEX usage_of_org ON usage (org_id, at);

-- What a question is about stands in one versioned payload, so that every kind has its own. The digest is that of the payload's
-- bytes as they were written; a decision names what it decided upon.
ALTER TABLE pending_actions
    DROP CONSTRAINT pending_actions_kind_check,
    ADD COLUMN payload jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN digest bytea CHECK (octet_length(digest) = 32),
    ADD COLUMN decision jsonb,
    ADD COLUMN decided_by uuid,
    ADD COLUMN decided_at timestamptz;
UPDATE pending_actions SET payload = jsonb_build_object('v', 1, 'summary', summary, 'calls', calls);
UPDATE pending_actions SET digest = sha256(convert_to(payload::text, 'UTF8'));
ALTER TABLE pending_actions
    DROP COLUMN summary,
    DROP COLUMN calls,
    ALTER COLUMN payload DROP DEFAULT,
    ALTER COLUMN digest SET NOT NULL,
    ADD CONSTRAINT decided_has_decision CHECK ((state = 'decided') = (decision IS NOT NULL AND decided_at IS NOT NULL));

-- A call that a person approved runs as one that the policy allows.
ALTER TABLE calls
    DROP CONSTRAINT denied_never_dispatched,
    ADD CONSTRAINT denied_never_dispatched CHECK (verdict ->> 'decision' <> 'deny' OR dispatched_at IS NULL);

ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage FORCE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage TO runmesh_app, runmesh_reader
    USING ((org_id = (SELECT current_setting('runmesh.org')::uuid)) IS TRUE)
    WITH CHECK ((org_id = current_setting('runmesh.org')::uuid) IS TRUE);
CREATE POLICY every_org ON usage TO runmesh_system, runmesh_reader_all USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON usage TO runmesh_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage TO runmesh_system;
GRANT SELECT ON usage TO runmesh_reader, runmesh_reader_all;
