-- What a session is bound to: a digest of the whole credential, because two credentials may bear one name (T1). A session that
-- was opened before this column is nobody's: its worker opens a new one.
ALTER TABLE worker_sessions ADD COLUMN credential_digest bytea CHECK (octet_length(credential_digest) = 32);

-- How long the session's lease was when it was last renewed. One that ends later than that from now was renewed before the clock
-- was set back.
ALTER TABLE worker_sessions ADD COLUMN lease_ms bigint;

-- What the workers of lost attempts said of calls after a person was asked whether they happened: evidence, not the journal.
CREATE TABLE late_results (
    run_id uuid NOT NULL,
    step_index integer NOT NULL CHECK (step_index >= 1),
    call_index integer NOT NULL CHECK (call_index >= 0),
    -- The attempt that dispatched the call.
    fence bigint NOT NULL,
    org_id uuid NOT NULL,
    content text NOT NULL CHECK (octet_length(content) <= 4096),
    is_error boolean NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (run_id, step_index, call_index, fence)
);
ALTER TABLE late_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE late_results FORCE ROW LEVEL SECURITY;
CREATE POLICY own_org ON late_results TO runmesh_app, runmesh_reader
    USING ((org_id = (SELECT current_setting('runmesh.org')::uuid)) IS TRUE)
    WITH CHECK ((org_id = current_setting('runmesh.org')::uuid) IS TRUE);
CREATE POLICY every_org ON late_results TO runmesh_system, runmesh_reader_all USING (true) WITH CHECK (true);
GRANT SELECT ON late_results TO runmesh_app, runmesh_reader, runmesh_reader_all;
GRANT SELECT, INSERT, UPDATE, DELETE ON late_results TO runmesh_system;
