//! Reads the orgs out of a token of a person. Only ever called with a token whose signature held.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runmesh_domain::id::OrgId;
use serde_json::Value;

use super::org::Orgs;

/// Stands for every org: then the mesh's own memberships say which.
const EVERY: &str = "*";

/// The orgs that the claim `name` lists, by id or name, one or many, or `*`. `None` when the token has no such claim.
pub(super) fn orgs(token: &str, name: &str) -> Option<Orgs> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    match claims.get(name)? {
        Value::String(one) => Some(named([one.as_str()])),
        Value::Array(many) => Some(named(many.iter().filter_map(Value::as_str))),
        _ => Some(named([])),
    }
}

/// The orgs that these texts name.
pub(super) fn named<'a>(texts: impl IntoIterator<Item = &'a str>) -> Orgs {
    let texts: Vec<&str> = texts.into_iter().collect();
    if texts.contains(&EVERY) { Orgs::Every { unless_asked: None } } else { Orgs::These(texts.into_iter().map(id_of).collect()) }
}

/// The org that `text` names: an id as it is, anything else as a name.
pub(super) fn id_of(text: &str) -> OrgId {
    text.parse().unwrap_or_else(|_| OrgId::of_name(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn one_many_and_none() {
        let id = OrgId::of_name("a");
        let these = |orgs: &[OrgId]| Some(Orgs::These(orgs.to_vec()));
        let every = || Some(Orgs::Every { unless_asked: None });
        for (claims, want) in [
            (serde_json::json!({"orgs": "a"}), these(&[id])),
            (serde_json::json!({"orgs": [id.to_string(), "b"]}), these(&[id, OrgId::of_name("b")])),
            (serde_json::json!({"orgs": []}), these(&[])),
            (serde_json::json!({"orgs": "*"}), every()),
            (serde_json::json!({"orgs": ["b", "*"]}), every()),
            (serde_json::json!({"orgs": {"a": 1}}), these(&[])),
            (serde_json::json!({"groups": ["a"]}), None),
        ] {
            assert_eq!(orgs(&token(&claims), "orgs"), want, "{claims}");
        }
    }
}
