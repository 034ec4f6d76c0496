//! Whose rows a transaction may touch: the second wall between tenants (T1), which Postgres itself keeps.

use crate::db::Role;
use runmesh_domain::id::{OrgId, UserId};

/// Whose rows a transaction may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One org's.
    Org(OrgId),
    /// Every org's: claims, writes of workers, sweepers.
    System,
    /// One org's, without changing anything.
    Reader(OrgId),
    /// A person's memberships and the orgs they are of, over all orgs, without changing anything.
    Person(UserId),
}

impl Scope {
    /// The database role that the transaction works as.
    pub(crate) const fn role(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::Org(_), Role::Service) => "runmesh_app",
            (Self::Reader(_), _) | (Self::Org(_), Role::Reader) => "runmesh_reader",
            (Self::Person(_), _) => "runmesh_person",
            (Self::System, Role::Service) => "runmesh_system",
            (Self::System, Role::Reader) => "runmesh_reader_all",
        }
    }

    /// BEGIN and the scope as one message to the server. The ids are parsed UUIDs, so they may stand in the text.
    pub(crate) fn begin(self, role: Role, kind: Kind) -> String {
        let name = self.role(role);
        let mode = match (self, role, kind) {
            // What is read in one transaction is of one moment.
            (_, _, Kind::Read) => " ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            (Self::Reader(_) | Self::Person(_), _, _) | (_, Role::Reader, _) => " READ ONLY",
            (Self::Org(_) | Self::System, Role::Service, Kind::Durable | Kind::Beat) => "",
        };
        let whose = match self {
            Self::Org(org) | Self::Reader(org) => format!("; SET LOCAL runmesh.org = '{}'", org.uuid()),
            Self::Person(user) => format!("; SET LOCAL runmesh.person = '{}'", user.uuid()),
            Self::System => String::new(),
        };
        let commit = match kind {
            Kind::Durable | Kind::Read => "",
            Kind::Beat => "; SET LOCAL synchronous_commit = off",
        };
        format!("BEGIN{mode}; SET LOCAL ROLE {name}{whose}{commit}")
    }
}

/// What a commit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Once acknowledged it is there, whatever dies.
    Durable,
    /// There is nothing to commit, and all its statements see the same moment.
    Read,
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
        for scope in [Scope::Org(org), Scope::System] {
            assert!(scope.begin(Role::Service, Kind::Read).starts_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;"));
        }
        let begin = Scope::Org(org).begin(Role::Service, Kind::Durable);
        let uuid = "00000000-0000-0000-0000-000000000001";
        let person = Scope::Person(UserId::from_uuid(Uuid::from_u128(1))).begin(Role::Service, Kind::Durable);
        assert_eq!(person, format!("BEGIN READ ONLY; SET LOCAL ROLE runmesh_person; SET LOCAL runmesh.person = '{uuid}'"));
        assert_eq!(begin, format!("BEGIN; SET LOCAL ROLE runmesh_app; SET LOCAL runmesh.org = '{uuid}'"));
    }
}
