-- The second wall between tenants (T1). Without the setting runmesh.org every statement of an org's role fails.
-- IS TRUE keeps the wall a filter: as a plain comparison the planner may take it for the way in, and read every row of an org
-- to find the one that the statement names by its key. The sub-select is read once per statement, not once per row.
GRANT USAGE ON SCHEMA public TO runmesh_app, runmesh_system, runmesh_reader, runmesh_reader_all;

DO $$
DECLARE
    wall text;
BEGIN
    FOREACH wall IN ARRAY ARRAY['members', 'agents', 'agent_versions', 'threads', 'messages', 'runs', 'run_specs',
        'run_transitions', 'steps', 'calls', 'pending_actions', 'idempotency_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', wall);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', wall);
        EXECUTE format('CREATE POLICY own_org ON %I TO runmesh_app, runmesh_reader
            USING ((org_id = (SELECT current_setting(''runmesh.org'')::uuid)) IS TRUE)
            WITH CHECK ((org_id = current_setting(''runmesh.org'')::uuid) IS TRUE)', wall);
        EXECUTE format('CREATE POLICY every_org ON %I TO runmesh_system, runmesh_reader_all
            USING (true) WITH CHECK (true)', wall);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO runmesh_app', wall);
    END LOOP;
END
$$;

ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE orgs FORCE ROW LEVEL SECURITY;
CREATE POLICY own_org ON orgs TO runmesh_app, runmesh_reader USING (id = current_setting('runmesh.org')::uuid);
CREATE POLICY every_org ON orgs TO runmesh_system, runmesh_reader_all USING (true) WITH CHECK (true);
GRANT SELECT ON orgs TO runmesh_app;
-- A claim made while accepting locks the org's row, for which Postgres wants the right to change it.
GRANT UPDATE (name) ON orgs TO runmesh_app;

ALTER TABLE worker_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE worker_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_org ON worker_sessions FOR SELECT TO runmesh_app, runmesh_reader
    USING (orgs IS NULL OR current_setting('runmesh.org')::uuid = ANY (orgs));
CREATE POLICY every_org ON worker_sessions TO runmesh_system, runmesh_reader_all USING (true) WITH CHECK (true);
GRANT SELECT ON worker_sessions TO runmesh_app;

GRANT DELETE ON members TO runmesh_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO runmesh_system;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO runmesh_reader, runmesh_reader_all;
REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM runmesh_system;
