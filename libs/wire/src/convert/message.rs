//! Messages and their parts.

use super::{FromWire, IntoWire, id, join, list, signed, unsigned};
use crate::pb::thread as pb;
use runmesh_domain::Refusal;
use runmesh_domain::message::{Message, Part, ProviderData, Role};

impl IntoWire<pb::Part> for Part {
    fn into_wire(self) -> pb::Part {
        use pb::part::Content;
        let content = match self {
            Self::Text { text } => Content::Text(pb::TextPart { text }),
            Self::Reasoning { text, provider_data } => {
                Content::Reasoning(pb::ReasoningPart { text, provider_data: provider_data.map(IntoWire::into_wire) })
            }
            Self::ToolCall { call_id, name, arguments, provider_data } => Content::ToolCall(pb::ToolCallPart {
                call_id,
                name,
                arguments_json: arguments,
                provider_data: provider_data.map(IntoWire::into_wire),
            }),
            Self::ToolResult { call_id, name, content, is_error } => {
                Content::ToolResult(pb::ToolResultPart { call_id, name, content, is_error })
            }
        };
        pb::Part { content: Some(content) }
    }
}

impl FromWire<Part> for pb::Part {
    fn from_wire(self, path: &str) -> Result<Part, Refusal> {
        use pb::part::Content;
        let Self { content } = self;
        Ok(match content {
            None => return Err(Refusal::field(path, "want one of text, reasoning, tool_call, tool_result")),
            Some(Content::Text(pb::TextPart { text })) => Part::Text { text },
            Some(Content::Reasoning(pb::ReasoningPart { text, provider_data: data })) => {
                Part::Reasoning { text, provider_data: provider_data(data) }
            }
            Some(Content::ToolCall(pb::ToolCallPart { call_id, name, arguments_json, provider_data: data })) => {
                Part::ToolCall { call_id, name, arguments: arguments_json, provider_data: provider_data(data) }
            }
            Some(Content::ToolResult(pb::ToolResultPart { call_id, name, content, is_error })) => {
                Part::ToolResult { call_id, name, content, is_error }
            }
        })
    }
}

impl IntoWire<pb::ProviderData> for ProviderData {
    fn into_wire(self) -> pb::ProviderData {
        let Self { model, json } = self;
        pb::ProviderData { model, json }
    }
}

fn provider_data(wire: Option<pb::ProviderData>) -> Option<ProviderData> {
    wire.map(|pb::ProviderData { model, json }| ProviderData { model, json })
}

impl IntoWire<Vec<pb::Part>> for Vec<Part> {
    fn into_wire(self) -> Vec<pb::Part> {
        self.into_iter().map(IntoWire::into_wire).collect()
    }
}

impl IntoWire<pb::Message> for Message {
    fn into_wire(self) -> pb::Message {
        let Self { id, thread, run, turn_number, role, parts, unfinished, internal, created_at } = self;
        pb::Message {
            message_id: id.to_string(),
            thread_id: thread.to_string(),
            run_id: run.to_string(),
            turn_number: signed(turn_number),
            role: pb::message::Role::from(RoleOnWire(role)).into(),
            parts: parts.into_wire(),
            unfinished,
            internal,
            create_time: Some(created_at.into_wire()),
        }
    }
}

impl FromWire<Message> for pb::Message {
    fn from_wire(self, path: &str) -> Result<Message, Refusal> {
        let role = self.role();
        let Self { message_id, thread_id, run_id, turn_number, role: _, parts, unfinished, internal, create_time } = self;
        Ok(Message {
            id: id(&join(path, "message_id"), &message_id)?,
            thread: id(&join(path, "thread_id"), &thread_id)?,
            run: id(&join(path, "run_id"), &run_id)?,
            turn_number: unsigned(&join(path, "turn_number"), turn_number)?,
            role: match role {
                pb::message::Role::User => Role::User,
                pb::message::Role::Assistant => Role::Assistant,
                pb::message::Role::Tool => Role::Tool,
                pb::message::Role::Unspecified => return Err(Refusal::field(join(path, "role"), "is required")),
            },
            parts: list(&join(path, "parts"), parts)?,
            unfinished,
            internal,
            created_at: super::required(&join(path, "create_time"), create_time)?.from_wire(&join(path, "create_time"))?,
        })
    }
}

struct RoleOnWire(Role);

impl From<RoleOnWire> for pb::message::Role {
    fn from(role: RoleOnWire) -> Self {
        match role.0 {
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
            Role::Tool => Self::Tool,
        }
    }
}
