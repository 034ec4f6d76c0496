//! The hint `tool:NAME{json}`, whose arguments may hold spaces, and the call that `ask` stands for.
//!
//! The arguments are passed on exactly as written, never reformatted: tests of digests depend on it.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// Longer than the names real model servers accept.
const NAME_BYTES_MAX: usize = 128;

/// A tool call a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallHint {
    /// The tool's name.
    pub(crate) name: String,
    /// A JSON object as text.
    pub(crate) arguments: String,
}

impl CallHint {
    /// The call of `ask_user` with one question and two options.
    pub(crate) fn ask() -> Self {
        let arguments = r#"{"questions":[{"question":"Which one should I take?","options":["the first","the second"]}]}"#;
        Self { name: "ask_user".to_owned(), arguments: arguments.to_owned() }
    }
}

/// Reads a tool hint at the start of `text`; returns it with the text after it. `tool:NAME` alone has no arguments.
pub(super) fn parse(text: &str) -> Option<(CallHint, &str)> {
    let after_tag = text.strip_prefix("tool:")?;
    let end = after_tag.find(|c| !is_name(c)).unwrap_or(after_tag.len());
    let (name, after_name) = after_tag.split_at(end);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let (arguments, after) = match after_name.chars().next() {
        Some('{') => object(after_name)?,
        Some(c) if !c.is_whitespace() && c != '`' => return None,
        _ => ("{}", after_name),
    };
    let call = CallHint { name: name.to_owned(), arguments: arguments.to_owned() };
    Some((call, after))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

/// Splits `text` behind the JSON object it starts with.
pub(super) fn object(text: &str) -> Option<(&str, &str)> {
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}
