//! Which worker sessions may and can serve which runs, said once for every statement that asks. Decides nothing about limits or
//! about whether a session lives.

/// Whether session `s` of worker_sessions serves run `r` of runs: by its credential, by what it declared, and by its tools.
macro_rules! serves {
    () => {
        "(s.orgs IS NULL OR r.org_id = ANY (s.orgs)) AND (s.agents IS NULL OR r.agent_id = ANY (s.agents))
         AND (r.needs = '{}' OR '*' = ANY (s.tools) OR r.needs <@ s.tools)"
    };
}
pub(crate) use serves;

/// The values of `worker_sessions.serves_org` that sessions which may serve run `r` have: the ways into an index of sessions.
macro_rules! may_serve {
    () => {
        "s.serves_org = ANY (ARRAY[r.org_id, '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']::uuid[])"
    };
}
pub(crate) use may_serve;
