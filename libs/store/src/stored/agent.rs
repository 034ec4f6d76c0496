//! The forms of an agent's definition and of a run's frozen spec.
//!
//! A tool of a kind that this version does not know is passed over: the model is not offered it. A policy that is not known is a
//! no, and an outcome that is not known is a question to a person.

use super::{Form, fields, versioned};
use runmesh_domain::Timestamp;
use runmesh_domain::agent::{AgentLimits, AgentSpec, ModelParameters, OnUnknownOutcome, Tool, ToolKind, ToolPolicy};
use runmesh_domain::id::AgentId;
use runmesh_domain::spec::RunSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The newest version of both forms.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct SpecForm {
    instructions: String,
    model: String,
    parameters: ParametersForm,
    tools: Vec<Value>,
    limits: LimitsForm,
    on_unknown_outcome: String,
    time_zone: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ParametersForm {
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_output_tokens: Option<u64>,
}

/// What is missing has the default of this version.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct LimitsForm {
    max_steps: Option<u32>,
    context_window_tokens: Option<u64>,
    model_idle_ms: Option<u64>,
    tool_timeout_ms: Option<u64>,
    progress_timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct ToolForm {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default = "allow")]
    policy: String,
    kind: Value,
}

#[derive(Deserialize)]
struct HttpForm {
    url: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    idempotent: bool,
}

#[derive(Serialize, Deserialize)]
struct RunForm {
    agent_id: AgentId,
    agent_version: u64,
    agent: Value,
    accepted_at: Timestamp,
    #[serde(default)]
    traceparent: String,
}

/// Before policies there were none, and tools ran.
fn allow() -> String {
    "allow".to_owned()
}

impl Form for AgentSpec {
    fn write(&self) -> Value {
        let Self { instructions, model, parameters, tools, limits, on_unknown_outcome, time_zone } = self;
        let ModelParameters { temperature, top_p, max_output_tokens } = *parameters;
        let AgentLimits { max_steps, context_window_tokens, model_idle_ms, tool_timeout_ms, progress_timeout_ms } = *limits;
        let form = SpecForm {
            instructions: instructions.clone(),
            model: model.clone(),
            parameters: ParametersForm { temperature, top_p, max_output_tokens },
            tools: tools.iter().map(write_tool).collect(),
            limits: LimitsForm {
                max_steps: Some(max_steps),
                context_window_tokens: Some(context_window_tokens),
                model_idle_ms: Some(model_idle_ms),
                tool_timeout_ms: Some(tool_timeout_ms),
                progress_timeout_ms: Some(progress_timeout_ms),
            },
            on_unknown_outcome: match on_unknown_outcome {
                OnUnknownOutcome::Ask => "ask".to_owned(),
                OnUnknownOutcome::Fail => "fail".to_owned(),
            },
            time_zone: time_zone.clone(),
        };
        versioned(VERSION, form)
    }

    fn read(form: Value) -> Result<Self, String> {
        let SpecForm { instructions, model, parameters, tools, limits, on_unknown_outcome, time_zone } = fields(form)?;
        let ParametersForm { temperature, top_p, max_output_tokens } = parameters;
        Ok(Self {
            instructions,
            model,
            parameters: ModelParameters { temperature, top_p, max_output_tokens },
            tools: tools.into_iter().filter_map(read_tool).collect(),
            limits: read_limits(&limits),
            on_unknown_outcome: match on_unknown_outcome.as_str() {
                "fail" => OnUnknownOutcome::Fail,
                _ => OnUnknownOutcome::Ask,
            },
            time_zone,
        })
    }
}

fn read_limits(form: &LimitsForm) -> AgentLimits {
    let default = AgentLimits::default();
    let limits = AgentLimits {
        max_steps: form.max_steps.unwrap_or(default.max_steps),
        context_window_tokens: form.context_window_tokens.unwrap_or(default.context_window_tokens),
        model_idle_ms: form.model_idle_ms.unwrap_or(default.model_idle_ms),
        tool_timeout_ms: form.tool_timeout_ms.unwrap_or(default.tool_timeout_ms),
        ..default
    };
    let progress_timeout_ms = form.progress_timeout_ms.unwrap_or(limits.progress_timeout_default_ms());
    AgentLimits { progress_timeout_ms, ..limits }
}

fn write_tool(tool: &Tool) -> Value {
    let Tool { name, description, policy, kind } = tool;
    let policy = match policy {
        ToolPolicy::Allow => "allow",
        ToolPolicy::Deny => "deny",
    };
    let kind = match kind {
        ToolKind::Builtin => json!({"type": "builtin"}),
        ToolKind::Http { url, schema, idempotent } => {
            json!({"type": "http", "url": url, "schema": schema, "idempotent": idempotent})
        }
    };
    json!({"name": name, "description": description, "policy": policy, "kind": kind})
}

/// Nothing for a tool that this version cannot call.
fn read_tool(form: Value) -> Option<Tool> {
    let ToolForm { name, description, policy, kind } = fields(form).ok()?;
    let kind = match kind.get("type").and_then(Value::as_str)? {
        "builtin" => ToolKind::Builtin,
        "http" => {
            let HttpForm { url, schema, idempotent } = fields(kind).ok()?;
            ToolKind::Http { url, schema, idempotent }
        }
        _ => return None,
    };
    let policy = if policy == "allow" { ToolPolicy::Allow } else { ToolPolicy::Deny };
    Some(Tool { name, description, policy, kind })
}

impl Form for RunSpec {
    fn write(&self) -> Value {
        let Self { agent_id, agent_version, agent, accepted_at, traceparent } = self;
        let form = RunForm {
            agent_id: *agent_id,
            agent_version: *agent_version,
            agent: agent.write(),
            accepted_at: *accepted_at,
            traceparent: traceparent.clone(),
        };
        versioned(VERSION, form)
    }

    fn read(form: Value) -> Result<Self, String> {
        let RunForm { agent_id, agent_version, agent, accepted_at, traceparent } = fields(form)?;
        Ok(Self { agent_id, agent_version, agent: AgentSpec::read(agent)?, accepted_at, traceparent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Stored;

    /// As the first version wrote it.
    fn golden() -> Value {
        json!({
            "instructions": "i", "model": "m", "time_zone": "+02:00", "on_unknown_outcome": "fail",
            "parameters": {"temperature": 0.5, "top_p": null, "max_output_tokens": 9},
            "tools": [
                {"name": "current_time", "description": "", "policy": "allow", "kind": {"type": "builtin"}},
                {"name": "post", "description": "d", "policy": "deny",
                 "kind": {"type": "http", "url": "https://x", "schema": "{}", "idempotent": true}},
            ],
            "limits": {"max_steps": 3, "context_window_tokens": 4, "model_idle_ms": 5, "tool_timeout_ms": 6},
        })
    }

    fn spec() -> AgentSpec {
        let kind = ToolKind::Http { url: "https://x".into(), schema: "{}".into(), idempotent: true };
        let tool = |name: &str, description: &str, policy, kind| Tool {
            name: name.into(),
            description: description.into(),
            policy,
            kind,
        };
        AgentSpec {
            instructions: "i".into(),
            model: "m".into(),
            parameters: ModelParameters { temperature: Some(0.5), top_p: None, max_output_tokens: Some(9) },
            tools: vec![
                tool("current_time", "", ToolPolicy::Allow, ToolKind::Builtin),
                tool("post", "d", ToolPolicy::Deny, kind),
            ],
            limits: AgentLimits {
                max_steps: 3,
                context_window_tokens: 4,
                model_idle_ms: 5,
                tool_timeout_ms: 6,
                progress_timeout_ms: 3_600_000,
            },
            on_unknown_outcome: OnUnknownOutcome::Fail,
            time_zone: "+02:00".into(),
        }
    }

    fn run() -> RunSpec {
        RunSpec {
            agent_id: AgentId::derived(&[b"a"]),
            agent_version: 2,
            agent: spec(),
            accepted_at: Timestamp::from_micros(7),
            traceparent: "t".into(),
        }
    }

    /// Every object of a form gets one more field.
    fn with_unknown_fields(form: Value) -> Value {
        match form {
            Value::Object(fields) => {
                let known = fields.into_iter().map(|(name, value)| (name, with_unknown_fields(value)));
                known.chain([("of_a_newer_version".to_owned(), json!({"a": [1]}))]).collect()
            }
            Value::Array(all) => all.into_iter().map(with_unknown_fields).collect(),
            other => other,
        }
    }

    #[test]
    fn the_first_form_stays_readable_and_the_newest_says_its_version() {
        assert_eq!(AgentSpec::read(golden()), Ok(spec()));
        assert_eq!(AgentSpec::read(spec().write()), Ok(spec()));
        assert_eq!(spec().write()["v"], 1);
        assert_eq!(RunSpec::read(run().write()), Ok(run()));
        let first = json!({"agent_id": run().agent_id, "agent_version": 2, "agent": golden(), "accepted_at": run().accepted_at});
        assert_eq!(RunSpec::read(first), Ok(RunSpec { traceparent: String::new(), ..run() }));
    }

    #[test]
    fn a_field_of_a_newer_version_is_passed_over_everywhere() {
        assert_eq!(AgentSpec::read(with_unknown_fields(golden())), Ok(spec()));
        assert_eq!(RunSpec::read(with_unknown_fields(run().write())), Ok(run()));
        assert_eq!(AgentSpec::read(json!({})), Ok(AgentSpec::default()), "a missing field has its default");
    }

    #[test]
    fn kinds_of_a_newer_version_permit_nothing() {
        let mut form = golden();
        form["on_unknown_outcome"] = json!("retry_twice");
        form["tools"][0]["policy"] = json!("ask");
        form["tools"][1]["kind"] = json!({"type": "mcp", "server": "s"});
        let read = AgentSpec::read(form).unwrap_or_default();
        assert_eq!(read.on_unknown_outcome, OnUnknownOutcome::Ask);
        assert_eq!(
            read.tools.iter().map(|tool| (tool.name.as_str(), tool.policy)).collect::<Vec<_>>(),
            [("current_time", ToolPolicy::Deny)]
        );
    }

    #[test]
    fn a_frozen_spec_keeps_what_the_definition_has_beyond_this_version() {
        let definition = with_unknown_fields(golden());
        let frozen = Stored::keeping(&run(), "agent", &definition);
        assert_eq!(frozen.form()["agent"]["of_a_newer_version"], json!({"a": [1]}));
        assert_eq!(frozen.form()["agent"]["model"], "m", "what is known is as it was frozen");
    }
}
