//! Arguments against a tool's JSON schema. References to other documents are never fetched.
//!
//! A schema is a tenant's, and arguments are a model's: neither may keep a thread of the runtime busy. What a check may cost is
//! bounded before it begins, also for schemas stored before that bound was, and it runs on a thread of its own.

use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
use runmesh_domain::schema;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Characters of a problem that are shown to the model.
const PROBLEM_CHARS_MAX: usize = 500;
/// Bytes of arguments that are checked: what one message of the mesh can hold.
const ARGUMENTS_BYTES_MAX: usize = STREAM_MESSAGE_BYTES_MAX;
/// Steps that one pattern may go back on one text.
const BACKTRACKS_MAX: usize = 10_000;

/// Why `arguments` do not fit `schema`, in words for the model; `None` when they do. A schema that cannot be used fits
/// nothing: a call never runs unchecked. `checks` bounds how many checks run at once.
pub(super) async fn problem(checks: &Arc<Semaphore>, schema: &str, arguments: &str) -> Option<String> {
    let Ok(permit) = Arc::clone(checks).acquire_owned().await else {
        return Some("the worker stops; the tool did not run".to_owned());
    };
    let (schema, arguments) = (schema.to_owned(), arguments.to_owned());
    let check = tokio::task::spawn_blocking(move || {
        // Held until the check ends, also when nobody waits for it any more.
        let _permit = permit;
        check(&schema, &arguments)
    });
    check.await.unwrap_or_else(|_| Err("the check of the arguments broke off; the tool did not run".to_owned())).err()
}

fn check(schema: &str, arguments: &str) -> Result<(), String> {
    let unusable = |problem: String| format!("the tool's schema cannot be used: {problem}");
    schema::check(schema).map_err(unusable)?;
    let schema: Value = serde_json::from_str(schema).map_err(|error| unusable(error.to_string()))?;
    if arguments.len() > ARGUMENTS_BYTES_MAX {
        return Err(format!("the arguments have {} bytes; at most {ARGUMENTS_BYTES_MAX} can be checked", arguments.len()));
    }
    let arguments = checkable(arguments).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    schema::check_cost(&schema, &arguments)?;
    let patterns = jsonschema::PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS_MAX);
    let validator = jsonschema::options().with_pattern_options(patterns).build(&schema);
    let validator = validator.map_err(|error| cut(&unusable(error.to_string())))?;
    // The first problem only: there may be very many, and all of them would be kept at once.
    validator.validate(&arguments).map_err(|error| format!("the arguments do not fit the tool's schema:\n{}", line(&error)))
}

/// The arguments for the check, where numbers are doubles; what is sent is the text. A number beyond every double counts as
/// the largest one.
fn checkable(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|_| saturated(text))
}

fn saturated(text: &str) -> serde_json::Result<Value> {
    match text.trim_start().bytes().next() {
        Some(b'{') => {
            let fields: HashMap<String, &RawValue> = serde_json::from_str(text)?;
            fields
                .into_iter()
                .map(|(name, value)| Ok((name, saturated(value.get())?)))
                .collect::<Result<_, _>>()
                .map(Value::Object)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            items.into_iter().map(|item| saturated(item.get())).collect::<Result<_, _>>().map(Value::Array)
        }
        Some(b'-' | b'0'..=b'9') => serde_json::from_str(text).or_else(|error: serde_json::Error| {
            let number: f64 = text.trim().parse().map_err(|_| error)?;
            Ok(Value::from(number.clamp(f64::MIN, f64::MAX)))
        }),
        _ => serde_json::from_str(text),
    }
}

fn line(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { "/".to_owned() } else { place };
    cut(&format!("- {place}: {error}"))
}

fn cut(text: &str) -> String {
    text.chars().take(PROBLEM_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str =
        r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;

    fn problem(schema: &str, arguments: &str) -> Option<String> {
        check(schema, arguments).err()
    }

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

    #[test]
    fn numbers_of_any_size_are_checked() {
        let sixty = "9".repeat(60);
        for number in ["9007199254740993", "-0", sixty.as_str(), "1e400", "-1e400"] {
            assert_eq!(problem(r#"{"properties":{"n":{"type":"number"}}}"#, &format!(r#"{{"n":{number}}}"#)), None, "{number}");
        }
        assert!(problem(r#"{"properties":{"n":{"maximum":10}}}"#, r#"{"n":[1,1e400],"m":1e400}"#).is_none());
        assert!(problem(r#"{"properties":{"n":{"maximum":10}}}"#, r#"{"n":1e400}"#).is_some());
    }

    #[test]
    fn what_a_check_may_cost_is_bounded() {
        use std::fmt::Write as _;
        let mut defs = String::new();
        for level in 0..60 {
            let _ = write!(
                defs,
                r##""d{level}":{{"anyOf":[{{"$ref":"#/$defs/d{next}"}},{{"$ref":"#/$defs/d{next}"}}]}},"##,
                next = level + 1
            );
        }
        let doubling = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{defs}"d60":{{"type":"string"}}}}}}"##);
        assert!(problem(&doubling, "{}").is_some_and(|words| words.contains("2000 nodes")));
        let deep = format!("{}{}{}", r#"{"a":"#.repeat(40), "1", "}".repeat(40));
        let twice = r##"{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}}}],"type":"object"}"##;
        assert!(problem(twice, &deep).is_some_and(|words| words.contains("steps")));
        let slow = r#"{"properties":{"s":{"pattern":"^(a|a)*(?=b)$"}}}"#;
        assert!(problem(slow, &format!(r#"{{"s":"{}"}}"#, "a".repeat(5_000))).is_some());
    }

    /// The deepest check that is let through does not use up a thread's stack.
    #[tokio::test]
    async fn the_deepest_check_fits_the_stack() {
        let checks = Arc::new(Semaphore::new(1));
        let nested = (0..90).fold(r#"{"type":"object"}"#.to_owned(), |inner, _| format!(r#"{{"not":{{"not":{inner}}}}}"#));
        let defs: Vec<_> = (0..95).map(|n| format!(r##""d{n}":{{"anyOf":[{{"$ref":"#/$defs/d{}"}}]}}"##, n + 1)).collect();
        let chain = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d95":true}}}}"##, defs.join(","));
        let deep = format!("{}{}{}", r#"{"a":"#.repeat(60), "{}", "}".repeat(60));
        let recursive = r##"{"type":"object","properties":{"a":{"anyOf":[{"$ref":"#"}]}}}"##;
        for schema in [nested.as_str(), chain.as_str(), recursive] {
            // Fits or is refused: what counts is that there is an answer.
            let _ = super::problem(&checks, schema, &deep).await;
        }
        assert_eq!(super::problem(&checks, r##"{"properties":{"a":{"$ref":"#"}}}"##, &deep).await, None);
    }
}
