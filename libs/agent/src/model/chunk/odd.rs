//! Frames whose fields have other types than they should, read field by field from their text, so that no number passes through
//! a double. What cannot be read is taken for absent.

use super::{CallFrame, Choice, Delta, Frame, FunctionFrame, UsageFrame};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

type Fields<'a> = HashMap<String, &'a RawValue>;

/// Reads a frame.
///
/// # Errors
/// In words: it is not JSON, or no object.
pub(super) fn frame(data: &str) -> Result<Frame, String> {
    let raw: &RawValue = serde_json::from_str(data).map_err(|error| format!("a frame is not JSON: {error}"))?;
    let fields: Fields<'_> =
        serde_json::from_str(raw.get()).map_err(|error| format!("a frame is not a chat completion: {error}"))?;
    let error = get::<serde_json::Value>(&fields, "error").filter(|error| !error.is_null());
    let choices = list(&fields, "choices").map(|choices| choices.into_iter().filter_map(choice).collect());
    Ok(Frame { choices, usage: object(&fields, "usage").map(|usage| usage_of(&usage)), error })
}

fn choice(raw: &RawValue) -> Option<Choice> {
    let fields: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
    let read = |name: &str| object(&fields, name).map(|fields| delta(&fields));
    Some(Choice { delta: read("delta"), message: read("message"), finish_reason: text(&fields, "finish_reason") })
}

fn delta(fields: &Fields<'_>) -> Delta {
    Delta {
        content: text(fields, "content"),
        reasoning_content: text(fields, "reasoning_content"),
        reasoning: text(fields, "reasoning"),
        tool_calls: list(fields, "tool_calls").map(|calls| calls.into_iter().filter_map(call).collect()),
    }
}

fn call(raw: &RawValue) -> Option<CallFrame> {
    let fields: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(CallFrame {
        index: get(&fields, "index"),
        id: text(&fields, "id"),
        function: object(&fields, "function").map(|fields| FunctionFrame {
            name: text(&fields, "name"),
            arguments: arguments(&fields),
            provider_specific_fields: kept(&fields, "provider_specific_fields"),
            thought_signature: kept(&fields, "thought_signature"),
        }),
        extra_content: kept(&fields, "extra_content"),
        provider_specific_fields: kept(&fields, "provider_specific_fields"),
        thought_signature: kept(&fields, "thought_signature"),
    })
}

fn usage_of(fields: &Fields<'_>) -> UsageFrame {
    UsageFrame { prompt_tokens: get(fields, "prompt_tokens"), completion_tokens: get(fields, "completion_tokens") }
}

fn get<'a, T: Deserialize<'a>>(fields: &Fields<'a>, name: &str) -> Option<T> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn object<'a>(fields: &Fields<'a>, name: &str) -> Option<Fields<'a>> {
    get(fields, name)
}

fn list<'a>(fields: &Fields<'a>, name: &str) -> Option<Vec<&'a RawValue>> {
    get(fields, name)
}

/// A value that goes back as it came.
fn kept(fields: &Fields<'_>, name: &str) -> Option<Box<RawValue>> {
    fields.get(name).filter(|raw| raw.get() != "null").map(|raw| (*raw).to_owned())
}

/// A text, the texts of a list of parts, or a number as it is written.
fn text(fields: &Fields<'_>, name: &str) -> Option<String> {
    let raw = fields.get(name)?.get();
    match raw.bytes().next()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'[' => {
            let parts: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            Some(parts.into_iter().filter_map(part).collect())
        }
        b'-' | b'0'..=b'9' => Some(raw.to_owned()),
        _ => None,
    }
}

fn part(raw: &RawValue) -> Option<String> {
    let fields: Option<Fields<'_>> = serde_json::from_str(raw.get()).ok();
    match fields {
        Some(fields) => get(&fields, "text"),
        None => serde_json::from_str(raw.get()).ok(),
    }
}

/// Arguments as text, or as the object that they should have been the text of.
fn arguments(fields: &Fields<'_>) -> Option<String> {
    let raw = fields.get("arguments")?.get();
    match raw.bytes().next()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'{' | b'[' => Some(raw.to_owned()),
        _ => None,
    }
}

/// The frame with every half of a surrogate pair that stands alone replaced: servers that cut UTF-16 send them, and no text can
/// hold one.
pub(super) fn whole_characters(data: &str) -> Cow<'_, str> {
    if !data.contains("\\ud") && !data.contains("\\uD") {
        return Cow::Borrowed(data);
    }
    let mut out = String::with_capacity(data.len());
    let mut rest = data;
    while let Some(place) = rest.find('\\') {
        let (before, escape) = rest.split_at(place);
        out.push_str(before);
        let taken = match (unit(escape), unit(escape.get(6..).unwrap_or_default())) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            // The backslash and what it escapes, which may be a backslash.
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (whole, after) = escape.split_at(taken);
        out.push_str(whole);
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The UTF-16 unit that an escape at the beginning of `text` stands for.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}
