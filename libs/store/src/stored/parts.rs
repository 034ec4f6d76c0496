//! The forms of what a model said: parts of messages, and steps of the journal.
//!
//! A part of a kind that this version does not know is passed over, and stays in the row for the version that wrote it. A message
//! refers to the results of tools, which stand in the journal, once.

use super::{Form, fields, versioned};
use runmesh_domain::journal::{ModelStep, Usage};
use runmesh_domain::message::{Part, ProviderData};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The newest version of a step's form. Parts have none of their own: their kinds and fields say what they are.
const VERSION: u32 = 1;

/// Where the result of a tool stands: a call of the top level of the message's own run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultRef {
    /// The step.
    pub(crate) step: u32,
    /// The call.
    pub(crate) call: u32,
    /// How much of the result belongs to the message, in characters.
    pub(crate) chars: u32,
}

/// A part as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredPart {
    /// All of it.
    Whole(Part),
    /// A result whose content stands in the journal; here it is empty.
    Result(Part, ResultRef),
}

/// The parts of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parts(pub(crate) Vec<StoredPart>);

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PartForm {
    Text {
        #[serde(default)]
        text: String,
    },
    Reasoning {
        #[serde(default)]
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_data: Option<ProviderForm>,
    },
    ToolCall {
        call_id: String,
        name: String,
        arguments: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_data: Option<ProviderForm>,
    },
    ToolResult {
        call_id: String,
        name: String,
        #[serde(default)]
        is_error: bool,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        content: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<ResultRef>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct ProviderForm {
    model: String,
    json: String,
}

#[derive(Serialize, Deserialize)]
struct StepForm {
    #[serde(default)]
    parts: Vec<Value>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    finish_reason: String,
    #[serde(default)]
    usage: UsageForm,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct UsageForm {
    input_tokens: u64,
    output_tokens: u64,
}

impl Parts {
    /// Parts that refer to nothing.
    pub(crate) fn whole(parts: &[Part]) -> Self {
        Self(parts.iter().cloned().map(StoredPart::Whole).collect())
    }
}

impl Form for Parts {
    fn write(&self) -> Value {
        let one = |part: &StoredPart| match part {
            StoredPart::Whole(part) => write_part(part, None),
            StoredPart::Result(part, of) => write_part(part, Some(*of)),
        };
        Value::Array(self.0.iter().map(one).collect())
    }

    fn read(form: Value) -> Result<Self, String> {
        let Value::Array(parts) = form else { return Err("want an array of parts".to_owned()) };
        let read = parts.into_iter().map(read_part).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(read.into_iter().flatten().collect()))
    }
}

impl Form for ModelStep {
    fn write(&self) -> Value {
        let Self { parts, model, finish_reason, usage: Usage { input_tokens, output_tokens } } = self;
        let form = StepForm {
            parts: parts.iter().map(|part| write_part(part, None)).collect(),
            model: model.clone(),
            finish_reason: finish_reason.clone(),
            usage: UsageForm { input_tokens: *input_tokens, output_tokens: *output_tokens },
        };
        versioned(VERSION, form)
    }

    fn read(form: Value) -> Result<Self, String> {
        let StepForm { parts, model, finish_reason, usage: UsageForm { input_tokens, output_tokens } } = fields(form)?;
        let parts = parts.into_iter().map(read_part).collect::<Result<Vec<_>, _>>()?;
        let whole = |part: StoredPart| match part {
            StoredPart::Whole(part) | StoredPart::Result(part, _) => part,
        };
        let parts = parts.into_iter().flatten().map(whole).collect();
        Ok(Self { parts, model, finish_reason, usage: Usage { input_tokens, output_tokens } })
    }
}

fn write_part(part: &Part, of: Option<ResultRef>) -> Value {
    let form = match part.clone() {
        Part::Text { text } => PartForm::Text { text },
        Part::Reasoning { text, provider_data } => PartForm::Reasoning { text, provider_data: provider_data.map(Into::into) },
        Part::ToolCall { call_id, name, arguments, provider_data } => {
            PartForm::ToolCall { call_id, name, arguments, provider_data: provider_data.map(Into::into) }
        }
        Part::ToolResult { call_id, name, content, is_error } => {
            let content = if of.is_some() { String::new() } else { content };
            PartForm::ToolResult { call_id, name, is_error, content, of }
        }
    };
    serde_json::to_value(form).unwrap_or_default()
}

/// Nothing for a kind that this version does not know.
fn read_part(form: Value) -> Result<Option<StoredPart>, String> {
    let part = match fields(form)? {
        PartForm::Text { text } => Part::Text { text },
        PartForm::Reasoning { text, provider_data } => Part::Reasoning { text, provider_data: provider_data.map(Into::into) },
        PartForm::ToolCall { call_id, name, arguments, provider_data } => {
            Part::ToolCall { call_id, name, arguments, provider_data: provider_data.map(Into::into) }
        }
        PartForm::ToolResult { call_id, name, is_error, content, of } => {
            let part = Part::ToolResult { call_id, name, content, is_error };
            return Ok(Some(of.map_or_else(|| StoredPart::Whole(part.clone()), |of| StoredPart::Result(part.clone(), of))));
        }
        PartForm::Unknown => return Ok(None),
    };
    Ok(Some(StoredPart::Whole(part)))
}

impl From<ProviderData> for ProviderForm {
    fn from(ProviderData { model, json }: ProviderData) -> Self {
        Self { model, json }
    }
}

impl From<ProviderForm> for ProviderData {
    fn from(ProviderForm { model, json }: ProviderForm) -> Self {
        Self { model, json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As the first version wrote it.
    fn golden() -> Value {
        json!({
            "parts": [
                {"type": "text", "text": "a"},
                {"type": "reasoning", "text": "b", "provider_data": {"model": "m", "json": "{}"}},
                {"type": "tool_call", "call_id": "c", "name": "n", "arguments": "{}"},
                {"type": "tool_result", "call_id": "c", "name": "n", "content": "r", "is_error": true},
            ],
            "model": "m", "finish_reason": "stop", "usage": {"input_tokens": 3, "output_tokens": 2},
        })
    }

    fn step() -> ModelStep {
        let data = ProviderData { model: "m".into(), json: "{}".into() };
        let result = Part::ToolResult { call_id: "c".into(), name: "n".into(), content: "r".into(), is_error: true };
        ModelStep {
            parts: vec![
                Part::text("a"),
                Part::Reasoning { text: "b".into(), provider_data: Some(data) },
                Part::tool_call("c", "n", "{}"),
                result,
            ],
            model: "m".into(),
            finish_reason: "stop".into(),
            usage: Usage { input_tokens: 3, output_tokens: 2 },
        }
    }

    #[test]
    fn the_first_form_stays_readable_and_the_newest_says_its_version() {
        assert_eq!(ModelStep::read(golden()), Ok(step()));
        assert_eq!(ModelStep::read(step().write()), Ok(step()));
        assert_eq!(step().write()["v"], 1);
        assert_eq!(Parts::read(golden()["parts"].clone()), Ok(Parts::whole(&step().parts)));
    }

    #[test]
    fn parts_of_a_newer_version_are_passed_over_and_so_are_its_fields() {
        let newer = json!([
            {"type": "picture", "url": "u"},
            {"type": "text", "text": "a", "language": "de"},
            {"type": "tool_result", "call_id": "c", "name": "n", "is_error": false, "of": {"step": 1, "call": 2, "chars": 3, "x": 4}},
        ]);
        let result = Part::ToolResult { call_id: "c".into(), name: "n".into(), content: String::new(), is_error: false };
        let parts =
            vec![StoredPart::Whole(Part::text("a")), StoredPart::Result(result, ResultRef { step: 1, call: 2, chars: 3 })];
        assert_eq!(Parts::read(newer), Ok(Parts(parts)));
        assert_eq!(ModelStep::read(json!({"v": 2, "thoughts": 7})), Ok(ModelStep::default()));
    }

    #[test]
    fn what_lacks_what_it_needs_is_an_error() {
        for form in [json!(7), json!([7]), json!([{"type": "tool_call"}]), json!([{"text": "a"}])] {
            assert!(Parts::read(form.clone()).is_err(), "{form}");
        }
        assert!(ModelStep::read(json!("x")).is_err());
    }

    #[test]
    fn a_result_that_is_referred_to_is_not_stored_again() {
        let result = Part::ToolResult { call_id: "c".into(), name: "n".into(), content: "long".into(), is_error: false };
        let written = Parts(vec![StoredPart::Result(result, ResultRef { step: 1, call: 0, chars: 9 })]).write();
        assert_eq!(
            written,
            json!([{"type": "tool_result", "call_id": "c", "name": "n", "is_error": false,
            "of": {"step": 1, "call": 0, "chars": 9}}])
        );
    }
}
