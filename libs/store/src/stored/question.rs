//! The form of what a pending action asks. A call that lacks what tells it apart is an error of its row.

use super::{Form, fields, versioned};
use runmesh_domain::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The newest version.
const VERSION: u32 = 1;

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The question in words.
    pub(crate) summary: String,
    /// The calls concerned.
    pub(crate) calls: Vec<ActionCall>,
}

/// A call that a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionCall {
    /// The branch of the step.
    pub path: Path,
    /// The step.
    pub step_index: u32,
    /// The call, from 0.
    pub call_index: u32,
    /// The tool.
    pub name: String,
    /// The arguments, canonical JSON.
    pub arguments: String,
    /// SHA-256 of the arguments, lowercase hex.
    pub arguments_digest: String,
}

#[derive(Serialize, Deserialize)]
struct QuestionForm {
    #[serde(default)]
    summary: String,
    #[serde(default)]
    calls: Vec<CallForm>,
}

#[derive(Serialize, Deserialize)]
struct CallForm {
    #[serde(default, skip_serializing_if = "Path::is_top")]
    path: Path,
    step_index: u32,
    call_index: u32,
    name: String,
    arguments: String,
    arguments_digest: String,
}

impl Form for Question {
    fn write(&self) -> Value {
        let call = |call: &ActionCall| {
            let ActionCall { path, step_index, call_index, name, arguments, arguments_digest } = call.clone();
            CallForm { path, step_index, call_index, name, arguments, arguments_digest }
        };
        versioned(VERSION, QuestionForm { summary: self.summary.clone(), calls: self.calls.iter().map(call).collect() })
    }

    fn read(form: Value) -> Result<Self, String> {
        let QuestionForm { summary, calls } = fields(form)?;
        let call = |form: CallForm| {
            let CallForm { path, step_index, call_index, name, arguments, arguments_digest } = form;
            ActionCall { path, step_index, call_index, name, arguments, arguments_digest }
        };
        Ok(Self { summary, calls: calls.into_iter().map(call).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_form_stays_readable_with_fields_of_newer_ones() {
        let first = json!({"v": 1, "summary": "s", "calls": [{"step_index": 1, "call_index": 2, "name": "n", "arguments": "{}",
            "arguments_digest": "d", "of_a_newer_version": 1}], "more": true});
        let call = ActionCall {
            path: Path::TOP,
            step_index: 1,
            call_index: 2,
            name: "n".into(),
            arguments: "{}".into(),
            arguments_digest: "d".into(),
        };
        let question = Question { summary: "s".into(), calls: vec![call] };
        assert_eq!(Question::read(first), Ok(question.clone()));
        assert_eq!(Question::read(question.write()), Ok(question.clone()));
        assert_eq!((&question.write()["v"], question.write()["calls"][0].get("path")), (&json!(1), None));
        let mut inner = question.clone();
        inner.calls[0].path = "1.0/2.3".parse().unwrap_or_default();
        assert_eq!(Question::read(inner.write()), Ok(inner));
        assert!(Question::read(json!({"calls": [{"step_index": 1}]})).is_err());
    }
}
