-- What an org says of itself: its name for people, bounds of its own (null: the mesh's), and when it was deleted. The row of a
-- deleted org stays, for its id follows from its name: whoever got the name again would get its threads and tokens as well.
ALTER TABLE orgs
    ADD COLUMN display_name text NOT NULL DEFAULT '',
    ADD COLUMN running_per_user_max integer CHECK (running_per_user_max >= 1),
    ADD COLUMN running_per_org_max integer CHECK (running_per_org_max >= 1),
    ADD COLUMN deleted_at timestamptz;
-- The name is the org's for good.
REVOKE UPDATE (name) ON orgs FROM runmesh_app;
GRANT UPDATE (display_name, running_per_user_max, running_per_org_max, deleted_at) ON orgs TO runmesh_app;

CREATE INDEX members_of_user ON members (user_id, org_id);

-- The wall around a person who looks at all their orgs: a role that sees the person's own memberships, the orgs they are of, and
-- nothing that is in them. Made as the others in 0001.
DO $$
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'runmesh_person') THEN
            CREATE ROLE runmesh_person NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    BEGIN
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            GRANT runmesh_person TO CURRENT_USER;
        END IF;
    EXCEPTION WHEN unique_violation OR internal_error THEN
        NULL;
    END;
END
$$;
GRANT USAGE ON SCHEMA public TO runmesh_person;
GRANT SELECT ON members, orgs TO runmesh_person;
CREATE POLICY own_memberships ON members FOR SELECT TO runmesh_person
    USING ((user_id = (SELECT current_setting('runmesh.person')::uuid)) IS TRUE);
CREATE POLICY own_memberships ON orgs FOR SELECT TO runmesh_person USING (id IN (SELECT org_id FROM members));
