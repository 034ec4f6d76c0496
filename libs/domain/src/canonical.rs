//! Canonical JSON (RFC 8785) and digests over it.

use sha2::{Digest, Sha256};

/// SHA-256, for comparing contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

impl Sha256Digest {
    /// Of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Lowercase hex.
    #[must_use]
    pub fn hex(&self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The arguments of a tool call in canonical form.
///
/// # Errors
/// In words for the model: what it wrote is not a JSON object.
pub fn arguments(text: &str) -> Result<String, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("the arguments are not valid JSON: {error}"))?;
    if !value.is_object() {
        return Err("the arguments are not a JSON object".to_owned());
    }
    serde_jcs::to_string(&value).map_err(|error| format!("the arguments have no canonical form: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_objects_have_one_form() {
        assert_eq!(arguments(r#"{"b":1, "a":[1.0]}"#), arguments(r#"{"a":[1],"b":1}"#));
        assert_eq!(arguments("").as_deref(), Ok("{}"));
        assert!(arguments("[1]").is_err());
        assert!(arguments("{").is_err());
    }
}
