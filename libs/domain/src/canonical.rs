//! Canonical JSON and digests over it.
//!
//! The form is that of RFC 8785 but for numbers: keys stand in the order of their UTF-16 code units, strings are escaped as little
//! as JSON allows, and nothing stands between tokens. A number keeps the digits that it was written with. RFC 8785 makes every
//! number a double, which changes identifiers beyond 2^53; here `9007199254740993`, sixty digits, `1e400` and `-0` come out as they
//! went in. So `1` and `1.0` are two forms: what is approved, journaled and sent is what the model wrote. Of a key that stands
//! twice the last value counts, as with most readers of JSON, and it alone is in the form.

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// How deep lists and objects may lie in one another. No tool needs more, and readers of JSON give up at 128.
pub const DEPTH_MAX: usize = 64;

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
/// In words for the model: what it wrote is not a JSON object, or lies deeper than [`DEPTH_MAX`].
pub fn arguments(text: &str) -> Result<String, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let form = json(text).map_err(|problem| format!("the arguments are not valid JSON: {problem}"))?;
    if form.starts_with('{') { Ok(form) } else { Err("the arguments are not a JSON object".to_owned()) }
}

/// Any JSON in canonical form.
///
/// # Errors
/// In words: it is not JSON, or lies deeper than [`DEPTH_MAX`].
pub fn json(text: &str) -> Result<String, String> {
    check_depth(text)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut out = String::with_capacity(text.len());
    write(raw, &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

/// Refuses what lies too deep, in one pass and without recursion: everything after it may recurse.
fn check_depth(text: &str) -> Result<(), String> {
    let (mut depth, mut within, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = within,
            b'"' => within = !within,
            b'{' | b'[' if !within => depth += 1,
            b'}' | b']' if !within => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!("lists and objects lie deeper in one another than {DEPTH_MAX}; make it flatter"));
        }
    }
    Ok(())
}

/// What `raw` holds was found to be JSON when it was read.
fn write(raw: &RawValue, out: &mut String) -> Result<(), serde_json::Error> {
    let text = raw.get();
    match text.bytes().next() {
        Some(b'{') => {
            let fields: HashMap<String, &RawValue> = serde_json::from_str(text)?;
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(&name)?);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push('[');
            for (index, value) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(value, out)?;
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&serde_json::to_string(&serde_json::from_str::<String>(text)?)?),
        // Numbers, true, false and null have no blanks and no other spelling that keeps every digit.
        _ => out.push_str(text),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_objects_have_one_form() {
        assert_eq!(arguments(r#"{"b":1, "a":[ 1.0 , true]}"#), arguments(r#"{"a":[1.0,true],"b":1}"#));
        assert_eq!(arguments(r#"{"\u0061":"\u00e4\/"}"#).as_deref(), Ok(r#"{"a":"ä/"}"#));
        assert_eq!(arguments("").as_deref(), Ok("{}"));
        assert!(arguments("[1]").is_err());
        assert!(arguments("{").is_err());
        assert!(arguments(r#"{"a":01}"#).is_err());
        assert!(arguments(r#"{"a":"\ud83d"}"#).is_err(), "half a character is no text");
    }

    #[test]
    fn numbers_are_never_rounded() {
        let sixty = "1".repeat(60);
        for number in [
            "9007199254740993",
            "725653563933458433",
            "-0",
            "1e400",
            "0.1000000000000000055511151231257827",
            "1E+2",
            "1.0",
            &sixty,
        ] {
            let written = format!(r#"{{"n":{number}}}"#);
            assert_eq!(arguments(&written).as_deref(), Ok(written.as_str()));
        }
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_counts() {
        assert_eq!(arguments(r#"{"a":1,"b":0,"a":2}"#).as_deref(), Ok(r#"{"a":2,"b":0}"#));
    }

    #[test]
    fn keys_stand_in_the_order_of_rfc_8785() {
        // Its own example, 3.2.3: by UTF-16 code units, where the emoji's surrogate stands before the ligature.
        let written = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        let wanted = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}";
        assert_eq!(arguments(written).as_deref(), Ok(wanted));
    }

    #[test]
    fn what_lies_too_deep_is_refused() {
        let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(arguments(&deep(DEPTH_MAX)).is_ok());
        assert!(arguments(&deep(DEPTH_MAX + 1)).is_err_and(|words| words.contains("64")));
        assert!(arguments(&"[".repeat(1_000_000)).is_err());
        assert!(arguments(&format!(r#"{{"a":"{}"}}"#, "[{".repeat(1_000))).is_ok(), "brackets in a text are text");
    }

    /// JSON as text, with numbers of any size and spelling.
    fn any_json() -> impl Strategy<Value = String> {
        let number = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
        let text = any::<String>().prop_map(|text| serde_json::Value::String(text).to_string());
        let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, text];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" , ")));
            let fields = proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|fields| {
                let fields =
                    fields.into_iter().rev().map(|(name, value)| format!("{} : {value}", serde_json::Value::String(name)));
                format!("{{\n{}\n}}", fields.collect::<Vec<_>>().join(",\t"))
            });
            prop_oneof![list, fields]
        })
    }

    /// Every number of a JSON text in the order of `names`, and every text and name: what must not change. Read by other means
    /// than the code under test.
    fn numbers_of(text: &str) -> Vec<String> {
        let (mut numbers, mut within, mut escaped, mut number) = (Vec::new(), false, false, String::new());
        for c in text.chars().chain([' ']) {
            let part = !within && (c.is_ascii_digit() || "+-.eE".contains(c)) && !(number.is_empty() && "eE".contains(c));
            if part {
                number.push(c);
            } else if !number.is_empty() {
                numbers.push(std::mem::take(&mut number));
            }
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = within,
                '"' => within = !within,
                _ => {}
            }
        }
        numbers.sort();
        numbers
    }

    proptest! {
        #[test]
        fn keeps_every_value_and_is_its_own_form(written in any_json()) {
            let form = json(&written).map_err(TestCaseError::fail)?;
            prop_assert_eq!(json(&form), Ok(form.clone()));
            prop_assert_eq!(numbers_of(&form), numbers_of(&written));
            // All but the numbers is what serde_json reads, wherever it can read the numbers at all.
            if let (Ok(before), Ok(after)) =
                (serde_json::from_str::<serde_json::Value>(&written), serde_json::from_str::<serde_json::Value>(&form))
            {
                prop_assert_eq!(before, after);
            }
        }
    }
}
