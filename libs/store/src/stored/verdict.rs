//! The form of a verdict. What this version does not know is a no: it never fails open.

use super::Form;
use runmesh_domain::policy::Verdict;
use serde_json::{Value, json};

impl Form for Verdict {
    fn write(&self) -> Value {
        match self {
            Self::Allow => json!({"v": 1, "decision": "allow"}),
            Self::Deny { reason } => json!({"v": 1, "decision": "deny", "reason": reason}),
        }
    }

    fn read(form: Value) -> Result<Self, String> {
        let text = |name: &str| form.get(name).and_then(Value::as_str).unwrap_or_default();
        Ok(match text("decision") {
            "allow" => Self::Allow,
            "deny" => Self::Deny { reason: text("reason").to_owned() },
            other => Self::Deny {
                reason: format!("this version of runmesh does not know the verdict {other:?}, and takes it for a no"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Value) -> Verdict {
        Verdict::read(form).unwrap_or(Verdict::Allow)
    }

    #[test]
    fn todays_form_and_the_one_without_a_version_are_read() {
        assert_eq!(read(json!({"decision": "allow"})), Verdict::Allow);
        assert_eq!(read(json!({"v": 1, "decision": "allow", "since": "newer"})), Verdict::Allow);
        assert_eq!(read(json!({"decision": "deny", "reason": "r", "x": 1})), Verdict::Deny { reason: "r".into() });
        for verdict in [Verdict::Allow, Verdict::Deny { reason: "r".into() }] {
            assert_eq!(read(verdict.write()), verdict);
        }
    }

    #[test]
    fn what_is_not_known_is_a_no() {
        for form in [json!({"v": 2, "decision": "ask"}), json!({}), json!(null), json!([]), json!({"decision": 1})] {
            assert!(matches!(read(form.clone()), Verdict::Deny { .. }), "{form}");
        }
    }
}
