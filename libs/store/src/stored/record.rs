//! The form of what a run's log shows of a transition. A kind that this version does not know is an error of its row: shown as
//! anything else it would be wrong, and the version that wrote it shows it.
//!
//! An end refers to its message and never holds it: the message stands in its own table, once.

use super::{Form, Stored, fields, versioned};
use runmesh_domain::Timestamp;
use runmesh_domain::id::{ActionId, MessageId, RunId};
use runmesh_domain::journal::Usage;
use runmesh_domain::message::Message;
use runmesh_domain::path::{CallKey, Path, StepKey};
use runmesh_domain::run::StateName;
use runmesh_domain::transition::{Finished, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The newest version: 1 held the message itself.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct AskedForm {
    action: ActionId,
    #[serde(default)]
    summary: String,
}

#[derive(Serialize, Deserialize)]
struct FinishedForm {
    state: StateName,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    message_id: Option<MessageId>,
    #[serde(default)]
    promoted: Option<RunId>,
    #[serde(default)]
    usage: Usage,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    closed_calls: Vec<CallForm>,
    /// Of the first version.
    #[serde(default, skip_serializing)]
    message: Option<Message>,
}

#[derive(Serialize, Deserialize)]
struct CallForm {
    #[serde(default, skip_serializing_if = "Path::is_top")]
    path: Path,
    step: u32,
    call: u32,
}

impl From<&CallKey> for CallForm {
    fn from(CallKey { step: StepKey { path, step_index }, call_index }: &CallKey) -> Self {
        Self { path: path.clone(), step: *step_index, call: *call_index }
    }
}

impl From<CallForm> for CallKey {
    fn from(CallForm { path, step, call }: CallForm) -> Self {
        StepKey { path, step_index: step }.call(call)
    }
}

impl Form for Record {
    fn write(&self) -> Value {
        match self {
            Self::Quiet => typed("quiet", json!({})),
            Self::AttemptStarted => typed("attempt_started", json!({})),
            Self::ApprovalRequested { action, summary } => {
                typed("approval_requested", AskedForm { action: *action, summary: summary.clone() })
            }
            Self::Finished(finished) => {
                let Finished { state, reason, detail, message, promoted, usage, at, closed_calls } = &**finished;
                let form = FinishedForm {
                    state: *state,
                    reason: reason.clone(),
                    detail: detail.clone(),
                    message_id: message.as_ref().map(|message| message.id),
                    promoted: *promoted,
                    usage: *usage,
                    at: *at,
                    closed_calls: closed_calls.iter().map(CallForm::from).collect(),
                    message: None,
                };
                typed("finished", form)
            }
        }
    }

    /// Without the message that the form refers to.
    fn read(form: Value) -> Result<Self, String> {
        Ok(match form.get("type").and_then(Value::as_str) {
            Some("quiet") => Self::Quiet,
            Some("attempt_started") => Self::AttemptStarted,
            Some("approval_requested") => {
                let AskedForm { action, summary } = fields(form)?;
                Self::ApprovalRequested { action, summary }
            }
            Some("finished") => {
                let FinishedForm { state, reason, detail, message_id: _, promoted, usage, at, closed_calls, message } =
                    fields(form)?;
                let closed_calls = closed_calls.into_iter().map(CallKey::from).collect();
                Self::Finished(Box::new(Finished { state, reason, detail, message, promoted, usage, at, closed_calls }))
            }
            other => return Err(format!("this version of runmesh does not know the kind {other:?}")),
        })
    }
}

/// The message that the stored record of an end refers to.
pub(crate) fn message_of(record: &Stored<Record>) -> Option<MessageId> {
    record.form().get("message_id").and_then(|id| MessageId::deserialize(id).ok())
}

fn typed(kind: &str, form: impl Serialize) -> Value {
    let mut written = versioned(VERSION, form);
    if let Value::Object(fields) = &mut written {
        fields.insert("type".to_owned(), kind.into());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::id::ThreadId;
    use runmesh_domain::message::{Part, Role};

    fn finished(message: Option<Message>) -> Record {
        Record::Finished(Box::new(Finished {
            state: StateName::Failed,
            reason: "R".into(),
            detail: "d".into(),
            message,
            promoted: Some(RunId::derived(&[b"next"])),
            usage: Usage { input_tokens: 1, output_tokens: 2 },
            at: Timestamp::from_micros(7),
            closed_calls: Vec::new(),
        }))
    }

    fn message() -> Message {
        Message {
            id: MessageId::derived(&[b"m"]),
            thread: ThreadId::derived(&[b"t"]),
            run: RunId::derived(&[b"r"]),
            turn_number: 3,
            role: Role::Assistant,
            parts: vec![Part::text("the words")],
            unfinished: true,
            internal: false,
            created_at: Timestamp::from_micros(6),
        }
    }

    #[test]
    fn an_end_refers_to_its_message() {
        let stored = Stored::new(&finished(Some(message())));
        assert!(!stored.form().to_string().contains("the words"), "{}", stored.form());
        assert_eq!(message_of(&stored), Some(message().id));
        assert_eq!(stored.read("t", "c", 1), Ok(finished(None)));
        assert_eq!(message_of(&Stored::new(&finished(None))), None);
    }

    #[test]
    fn an_end_names_the_calls_that_it_closed() {
        let branch = StepKey { path: "3.0/1.2".parse().unwrap_or_default(), step_index: 1 };
        let Record::Finished(mut end) = finished(None) else { panic!("an end") };
        end.closed_calls = vec![StepKey::top(3).call(1), branch.call(0)];
        let record = Record::Finished(end);
        let stored = Stored::new(&record);
        assert_eq!(stored.form()["closed_calls"], json!([{"step": 3, "call": 1}, {"path": "3.0/1.2", "step": 1, "call": 0}]));
        assert_eq!(stored.read("t", "c", 1), Ok(record));
    }

    #[test]
    fn the_first_form_held_the_message_and_stays_readable() {
        let first = json!({
            "v": 1, "type": "finished", "state": StateName::Failed, "reason": "R", "detail": "d", "message": message(),
            "promoted": RunId::derived(&[b"next"]), "usage": {"input_tokens": 1, "output_tokens": 2},
            "at": Timestamp::from_micros(7),
        });
        assert_eq!(Record::read(first), Ok(finished(Some(message()))));
        let text = r#"{"v":1,"type":"approval_requested","action":"act_00000000000000000000000000000007","summary":"s"}"#;
        let action = ActionId::from_uuid(uuid::Uuid::from_u128(7));
        let read = serde_json::from_str(text).map_err(|error| error.to_string()).and_then(Record::read);
        assert_eq!(read, Ok(Record::ApprovalRequested { action, summary: "s".into() }));
    }

    #[test]
    fn fields_of_newer_versions_are_passed_over_and_their_kinds_are_not_guessed() {
        assert_eq!(Record::read(json!({"v": 1, "type": "quiet"})), Ok(Record::Quiet));
        assert_eq!(Record::read(json!({"v": 2, "type": "attempt_started", "worker": "w"})), Ok(Record::AttemptStarted));
        assert_eq!(Record::read(Record::AttemptStarted.write()), Ok(Record::AttemptStarted));
        assert!(Record::read(json!({"v": 2, "type": "steered"})).is_err());
    }
}
