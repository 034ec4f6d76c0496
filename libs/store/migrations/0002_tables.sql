-- No foreign keys between the hot tables: every row of them is written by a transaction that holds the lock of the row it
-- hangs on, and each key would cost a look-up and a share lock per insert.

CREATE TABLE orgs (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT orgs_name UNIQUE (name)
);

CREATE TABLE members (
    org_id uuid NOT NULL REFERENCES orgs (id),
    user_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'admin')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (org_id, user_id)
);

CREATE TABLE agents (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL REFERENCES orgs (id),
    name text NOT NULL,
    version bigint NOT NULL CHECK (version >= 1),
    spec jsonb NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX agents_name ON agents (org_id, name) WHERE deleted_at IS NULL;
CREATE INDEX agents_newest ON agents (org_id, id) WHERE deleted_at IS NULL;

CREATE TABLE agent_versions (
    agent_id uuid NOT NULL REFERENCES agents (id),
    version bigint NOT NULL CHECK (version >= 1),
    org_id uuid NOT NULL,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (agent_id, version)
);

CREATE TABLE threads (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    title text NOT NULL DEFAULT '',
    next_turn bigint NOT NULL DEFAULT 1 CHECK (next_turn >= 1),
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX threads_newest ON threads (org_id, updated_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE messages (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    run_id uuid NOT NULL,
    turn_number bigint NOT NULL CHECK (turn_number >= 1),
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    parts jsonb NOT NULL,
    bytes integer NOT NULL,
    unfinished boolean NOT NULL,
    -- True from the start of its turn on: only then is it part of the conversation.
    placed boolean NOT NULL,
    created_at timestamptz NOT NULL,
    -- The order of the conversation.
    place bigint NOT NULL GENERATED ALWAYS AS (turn_number * 2 + (role = 'assistant')::int) STORED,
    CONSTRAINT messages_order UNIQUE (thread_id, place)
);

CREATE TABLE runs (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    user_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    agent_version bigint NOT NULL,
    turn_number bigint NOT NULL CHECK (turn_number >= 1),
    state text NOT NULL CHECK (state IN
        ('queued', 'ready', 'running', 'waiting', 'completed', 'failed', 'canceled', 'aborted', 'superseded')),
    version bigint NOT NULL CHECK (version >= 1),
    fence bigint NOT NULL CHECK (fence >= 0),
    session_id uuid,
    action_id uuid,
    cancel_requested boolean NOT NULL DEFAULT false,
    barren_attempts integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    -- Built-in tools that a worker must have.
    needs text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    claimed_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    changed_at timestamptz NOT NULL,
    log_seq bigint NOT NULL DEFAULT 0,
    log_chain bigint NOT NULL DEFAULT 0,
    last_step integer NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    -- What the holder's last Finish or Release said, to know its exact repeat.
    holder_digest bytea,
    CONSTRAINT runs_turn UNIQUE (thread_id, turn_number),
    CONSTRAINT running_has_session CHECK ((state = 'running') = (session_id IS NOT NULL)),
    CONSTRAINT running_was_claimed CHECK (state <> 'running' OR (claimed_at IS NOT NULL AND fence >= 1)),
    CONSTRAINT waiting_has_action CHECK ((state = 'waiting') = (action_id IS NOT NULL)),
    CONSTRAINT ended_has_time
        CHECK ((state IN ('completed', 'failed', 'canceled', 'aborted', 'superseded')) = (ended_at IS NOT NULL)),
    CONSTRAINT failed_has_reason CHECK ((state = 'failed') = (reason <> ''))
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
-- The thread gate (R3): a constraint, not a convention.
CREATE UNIQUE INDEX runs_gate ON runs (thread_id) WHERE state IN ('ready', 'running', 'waiting');
CREATE INDEX runs_queue ON runs (thread_id, turn_number) WHERE state = 'queued';
CREATE INDEX runs_ready ON runs (org_id, user_id, created_at) WHERE state = 'ready';
CREATE INDEX runs_session ON runs (session_id) WHERE state = 'running';
CREATE INDEX runs_running ON runs (org_id, user_id) WHERE state = 'running';
-- The same runs as those in an open state (see ended_has_time). Said in another way so that the planner cannot take this
-- index for look-ups by state, which have better ones.
CREATE INDEX runs_open ON runs (org_id, user_id) WHERE ended_at IS NULL;
CREATE INDEX runs_newest ON runs (org_id, id);

CREATE TABLE run_specs (
    run_id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    spec jsonb NOT NULL
);

CREATE TABLE run_transitions (
    run_id uuid NOT NULL,
    version bigint NOT NULL CHECK (version >= 1),
    org_id uuid NOT NULL,
    from_state text,
    to_state text NOT NULL,
    cause text NOT NULL,
    fence bigint NOT NULL,
    session_id uuid,
    at timestamptz NOT NULL,
    record jsonb NOT NULL,
    logged boolean NOT NULL DEFAULT false,
    fed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run_id, version),
    CONSTRAINT only_the_first_has_no_from CHECK ((from_state IS NULL) = (version = 1))
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX run_transitions_unlogged ON run_transitions (at) WHERE NOT logged;
CREATE INDEX run_transitions_unfed ON run_transitions (at) WHERE NOT fed;

CREATE TABLE steps (
    run_id uuid NOT NULL,
    step_index integer NOT NULL CHECK (step_index >= 1),
    org_id uuid NOT NULL,
    fence bigint NOT NULL,
    result jsonb NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, step_index)
);

CREATE TABLE calls (
    run_id uuid NOT NULL,
    step_index integer NOT NULL CHECK (step_index >= 1),
    call_index integer NOT NULL CHECK (call_index >= 0),
    org_id uuid NOT NULL,
    call_id text NOT NULL,
    name text NOT NULL,
    arguments text NOT NULL,
    state text NOT NULL CHECK (state IN ('reserved', 'dispatched', 'done', 'failed', 'unknown')),
    verdict jsonb NOT NULL,
    idempotent boolean NOT NULL,
    content text NOT NULL DEFAULT '',
    fence bigint NOT NULL,
    dispatched_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (run_id, step_index, call_index),
    CONSTRAINT denied_never_dispatched CHECK (verdict ->> 'decision' = 'allow' OR dispatched_at IS NULL)
) WITH (fillfactor = 80);

CREATE TABLE pending_actions (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    run_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('recovery')),
    summary text NOT NULL,
    calls jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'decided', 'expired', 'withdrawn')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX pending_actions_run ON pending_actions (run_id) WHERE state = 'pending';
CREATE INDEX pending_actions_org ON pending_actions (org_id, id) WHERE state = 'pending';
CREATE INDEX pending_actions_due ON pending_actions (expires_at) WHERE state = 'pending';

CREATE TABLE worker_sessions (
    id uuid PRIMARY KEY,
    credential text NOT NULL,
    worker text NOT NULL,
    capacity integer NOT NULL CHECK (capacity >= 1),
    -- Every org when null.
    orgs uuid[],
    -- Every agent when null: what the credential allows and the worker declared, both.
    agents uuid[],
    tools text[] NOT NULL,
    stream_number bigint NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    lease_ends_at timestamptz NOT NULL,
    -- The newest stream whose break was seen, and until when the session's safe runs may stay.
    cut_number bigint,
    cut_ends_at timestamptz,
    -- Runs that the last heartbeat should have named and did not.
    unnamed uuid[] NOT NULL DEFAULT '{}',
    lost_at timestamptz,
    -- True once a lost session is known to hold nothing more.
    drained boolean NOT NULL DEFAULT false,
    CONSTRAINT cut_is_whole CHECK ((cut_number IS NULL) = (cut_ends_at IS NULL)),
    CONSTRAINT drained_is_lost CHECK (NOT drained OR lost_at IS NOT NULL)
) WITH (fillfactor = 50);
CREATE INDEX worker_sessions_open ON worker_sessions (id) WHERE NOT drained;

CREATE TABLE idempotency_keys (
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    method text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    response bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (org_id, user_id, method, key)
);
CREATE INDEX idempotency_keys_oldest ON idempotency_keys USING brin (created_at);
