//! Which of a person's orgs a call is for. An org that is not the person's is refused whether it exists or not.

use runmesh_domain::Refusal;
use runmesh_domain::id::OrgId;
use runmesh_wire::header;

use super::claims::id_of;

/// The longest name looked at, bytes.
const NAME_BYTES_MAX: usize = 128;

/// The orgs that what a person showed is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Orgs {
    /// These.
    These(Vec<OrgId>),
    /// Every org that the person is a member of, which services find out.
    Every {
        /// The one that is meant when none is asked for.
        unless_asked: Option<OrgId>,
    },
}

impl Orgs {
    /// The only orgs, when they are few.
    pub(super) fn only(self) -> Option<Vec<OrgId>> {
        match self {
            Self::These(orgs) => Some(orgs),
            Self::Every { .. } => None,
        }
    }
}

/// The one of `orgs` that the caller `asked` for; the only one when it did not.
pub(super) fn choose(orgs: &Orgs, asked: Option<&str>) -> Result<OrgId, Refusal> {
    if let Some(name) = asked
        && (name.is_empty() || name.len() > NAME_BYTES_MAX)
    {
        return Err(Refusal::field(header::ORG, format!("want an org's id or name, at most {NAME_BYTES_MAX} bytes")));
    }
    let several = || Refusal::field(header::ORG, "is missing, and the caller has several orgs");
    match (orgs, asked.map(id_of)) {
        (Orgs::Every { .. }, Some(asked)) => Ok(asked),
        (Orgs::Every { unless_asked }, None) => unless_asked.ok_or_else(several),
        (Orgs::These(orgs), asked) => match (asked, orgs.as_slice()) {
            (_, []) => Err(Refusal::PermissionDenied { why: "the token names no org" }),
            (Some(asked), orgs) if orgs.contains(&asked) => Ok(asked),
            (Some(_), _) => Err(Refusal::PermissionDenied { why: "the org is not one of the caller's" }),
            (None, [only]) => Ok(*only),
            (None, _) => Err(several()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Reason;

    #[test]
    fn every_case() {
        let (a, b) = (OrgId::of_name("a"), OrgId::of_name("b"));
        let choice = |orgs: Orgs, asked: Option<&str>| choose(&orgs, asked).map_err(|refusal| refusal.reason());
        let reason = |orgs: &[OrgId], asked: Option<&str>| choice(Orgs::These(orgs.to_vec()), asked);
        assert_eq!(reason(&[a], None), Ok(a));
        assert_eq!(reason(&[a, b], Some("b")), Ok(b));
        assert_eq!(reason(&[a, b], Some(&a.to_string())), Ok(a));
        assert_eq!(reason(&[a, b], None), Err(Reason::InvalidField));
        assert_eq!(reason(&[a], Some("")), Err(Reason::InvalidField));
        assert_eq!(reason(&[a], Some("b")), Err(Reason::PermissionDenied));
        assert_eq!(reason(&[], None), Err(Reason::PermissionDenied));
        assert_eq!(reason(&[], Some("a")), Err(Reason::PermissionDenied));
        let every = |unless_asked| Orgs::Every { unless_asked };
        assert_eq!(choice(every(None), Some("b")), Ok(b));
        assert_eq!(choice(every(None), None), Err(Reason::InvalidField));
        assert_eq!(choice(every(Some(a)), None), Ok(a));
        assert_eq!(choice(every(Some(a)), Some("b")), Ok(b));
        assert_eq!(choice(every(Some(a)), Some("")), Err(Reason::InvalidField));
    }
}
