//! Reads the orgs out of a token of a person. Only ever called with a token whose signature held.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runmesh_domain::id::OrgId;
use serde_json::Value;

/// The orgs that the claim `name` lists, by id or name, one or many. `None` when the token has no such claim.
pub(super) fn orgs(token: &str, name: &str) -> Option<Vec<OrgId>> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    match claims.get(name)? {
        Value::String(one) => Some(vec![id_of(one)]),
        Value::Array(many) => Some(many.iter().filter_map(Value::as_str).map(id_of).collect()),
        _ => Some(Vec::new()),
    }
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
        for (claims, want) in [
            (serde_json::json!({"orgs": "a"}), Some(vec![id])),
            (serde_json::json!({"orgs": [id.to_string(), "b"]}), Some(vec![id, OrgId::of_name("b")])),
            (serde_json::json!({"orgs": []}), Some(vec![])),
            (serde_json::json!({"orgs": {"a": 1}}), Some(vec![])),
            (serde_json::json!({"groups": ["a"]}), None),
        ] {
            assert_eq!(orgs(&token(&claims), "orgs"), want, "{claims}");
        }
    }
}
