//! Arguments against a tool's JSON schema. References to other documents are never fetched.

use serde_json::Value;

/// Problems that are shown to the model at most.
const PROBLEMS_MAX: usize = 5;
/// Characters of one problem.
const PROBLEM_CHARS_MAX: usize = 300;

/// Why `arguments` do not fit `schema`, in words for the model; `None` when they do. A schema that cannot be used fits
/// nothing: a call never runs unchecked.
pub(super) fn problem(schema: &str, arguments: &str) -> Option<String> {
    let schema: Value = match serde_json::from_str(schema) {
        Ok(schema) => schema,
        Err(error) => return Some(format!("the tool's schema is not JSON: {error}")),
    };
    let arguments: Value = match serde_json::from_str(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return Some(format!("the arguments are not JSON: {error}")),
    };
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        Err(error) => return Some(format!("the tool's schema cannot be used: {error}")),
    };
    let problems: Vec<_> = validator.iter_errors(&arguments).take(PROBLEMS_MAX).map(|error| line(&error)).collect();
    if problems.is_empty() { None } else { Some(format!("the arguments do not fit the tool's schema:\n{}", problems.join("\n"))) }
}

fn line(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { "/".to_owned() } else { place };
    format!("- {place}: {error}").chars().take(PROBLEM_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str =
        r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;

    #[test]
    fn names_the_place_of_what_does_not_fit() {
        assert_eq!(problem(SCHEMA, r#"{"n":1}"#), None);
        let wrong = problem(SCHEMA, r#"{"n":"x"}"#).unwrap_or_default();
        assert!(wrong.contains("- /n: "), "{wrong}");
        let missing = problem(SCHEMA, "{}").unwrap_or_default();
        assert!(missing.contains("\"n\""), "{missing}");
        assert_eq!(problem("{}", r#"{"anything":1}"#), None);
    }

    #[test]
    fn a_schema_that_cannot_be_used_fits_nothing() {
        assert!(problem("{", "{}").is_some());
        assert!(problem(r#"{"type":7}"#, "{}").is_some());
        assert!(problem(r#"{"$ref":"http://127.0.0.1:1/other.json"}"#, "{}").is_some());
    }
}
