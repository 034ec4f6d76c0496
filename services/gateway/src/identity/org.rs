//! Which of a person's orgs a call is for. An org that is not the person's is refused whether it exists or not.

use runmesh_domain::Refusal;
use runmesh_domain::id::OrgId;
use runmesh_wire::header;

use super::claims::id_of;

/// The longest name looked at, bytes.
const NAME_BYTES_MAX: usize = 128;

/// The one of `orgs` that the caller `asked` for; the only one when it did not.
pub(super) fn choose(orgs: &[OrgId], asked: Option<&str>) -> Result<OrgId, Refusal> {
    match (asked, orgs) {
        (Some(name), _) if name.is_empty() || name.len() > NAME_BYTES_MAX => {
            Err(Refusal::field(header::ORG, format!("want an org's id or name, at most {NAME_BYTES_MAX} bytes")))
        }
        (_, []) => Err(Refusal::PermissionDenied { why: "the token names no org" }),
        (Some(name), orgs) => {
            let asked = id_of(name);
            let is_theirs = orgs.contains(&asked);
            is_theirs.then_some(asked).ok_or(Refusal::PermissionDenied { why: "the org is not one of the caller's" })
        }
        (None, [only]) => Ok(*only),
        (None, _) => Err(Refusal::field(header::ORG, "is missing, and the caller has several orgs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Reason;

    #[test]
    fn every_case() {
        let (a, b) = (OrgId::of_name("a"), OrgId::of_name("b"));
        let reason = |orgs: &[OrgId], asked: Option<&str>| choose(orgs, asked).map_err(|refusal| refusal.reason());
        assert_eq!(reason(&[a], None), Ok(a));
        assert_eq!(reason(&[a, b], Some("b")), Ok(b));
        assert_eq!(reason(&[a, b], Some(&a.to_string())), Ok(a));
        assert_eq!(reason(&[a, b], None), Err(Reason::InvalidField));
        assert_eq!(reason(&[a], Some("")), Err(Reason::InvalidField));
        assert_eq!(reason(&[a], Some("b")), Err(Reason::PermissionDenied));
        assert_eq!(reason(&[], None), Err(Reason::PermissionDenied));
        assert_eq!(reason(&[], Some("a")), Err(Reason::PermissionDenied));
    }
}
