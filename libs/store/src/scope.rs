//! Whose rows a transaction may touch: the second wall between tenants (T1), which Postgres itself keeps.

use crate::db::Role;
use runmesh_domain::id::OrgId;

/// Whose rows a transaction may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One org's.
    Org(OrgId),
    /// Every org's: claims, writes of workers, sweepers.
    System,
    /// One org's, without changing anything.
    Reader(OrgId),
}

impl Scope {
    /// BEGIN and the scope as one message to the server. The ids are parsed UUIDs, so they may stand in the text.
    pub(crate) fn begin(self, role: Role, kind: Kind) -> String {
        let (mode, name, org) = match (self, role) {
            (Self::Org(org), Role::Service) => ("", "runmesh_app", Some(org)),
            (Self::Reader(org), _) | (Self::Org(org), Role::Reader) => (" READ ONLY", "runmesh_reader", Some(org)),
            (Self::System, Role::Service) => ("", "runmesh_system", None),
            (Self::System, Role::Reader) => (" READ ONLY", "runmesh_reader_all", None),
        };
        let org = org.map(|org| format!("; SET LOCAL runmesh.org = '{}'", org.uuid())).unwrap_or_default();
        let commit = match kind {
            Kind::Durable => "",
            Kind::Beat => "; SET LOCAL synchronous_commit = off",
        };
        format!("BEGIN{mode}; SET LOCAL ROLE {name}{org}{commit}")
    }
}

/// What a commit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Once acknowledged it is there, whatever dies.
    Durable,
    /// A heartbeat: lost with the server, it only ends a lease earlier.
    Beat,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_reader_never_writes() {
        let org = OrgId::from_uuid(Uuid::from_u128(1));
        for scope in [Scope::Org(org), Scope::System, Scope::Reader(org)] {
            assert!(scope.begin(Role::Reader, Kind::Durable).starts_with("BEGIN READ ONLY; SET LOCAL ROLE runmesh_reader"));
        }
        let begin = Scope::Org(org).begin(Role::Service, Kind::Durable);
        let uuid = "00000000-0000-0000-0000-000000000001";
        assert_eq!(begin, format!("BEGIN; SET LOCAL ROLE runmesh_app; SET LOCAL runmesh.org = '{uuid}'"));
    }
}
