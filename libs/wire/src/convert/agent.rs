//! Agents.

use super::{FromWire, IntoWire, join, known, list, signed, signed32, unsigned};
use crate::pb::agent as pb;
use runmesh_domain::Refusal;
use runmesh_domain::agent::{Agent, AgentLimits, AgentSpec, ModelParameters, OnUnknownOutcome, Tool, ToolKind, ToolPolicy};
use std::time::Duration;

const EMPTY_SCHEMA: &str = r#"{"type":"object"}"#;

impl IntoWire<pb::Agent> for Agent {
    fn into_wire(self) -> pb::Agent {
        let Self { id, name, version, spec, created_at, updated_at } = self;
        pb::Agent {
            agent_id: id.to_string(),
            name,
            version: signed(version),
            spec: Some(spec.into_wire()),
            create_time: Some(created_at.into_wire()),
            update_time: Some(updated_at.into_wire()),
        }
    }
}

impl IntoWire<pb::AgentSpec> for AgentSpec {
    fn into_wire(self) -> pb::AgentSpec {
        let Self { instructions, model, parameters, tools, limits, on_unknown_outcome, time_zone } = self;
        let on_unknown_outcome = match on_unknown_outcome {
            OnUnknownOutcome::Ask => pb::agent_spec::OnUnknownOutcome::Ask,
            OnUnknownOutcome::Fail => pb::agent_spec::OnUnknownOutcome::Fail,
        };
        pb::AgentSpec {
            instructions,
            model,
            parameters: Some(parameters.into_wire()),
            tools: tools.into_iter().map(IntoWire::into_wire).collect(),
            limits: Some(limits.into_wire()),
            on_unknown_outcome: on_unknown_outcome.into(),
            time_zone,
        }
    }
}

impl FromWire<AgentSpec> for pb::AgentSpec {
    fn from_wire(self, path: &str) -> Result<AgentSpec, Refusal> {
        let on_unknown_outcome = match known(&join(path, "on_unknown_outcome"), self.on_unknown_outcome)? {
            pb::agent_spec::OnUnknownOutcome::Unspecified | pb::agent_spec::OnUnknownOutcome::Ask => OnUnknownOutcome::Ask,
            pb::agent_spec::OnUnknownOutcome::Fail => OnUnknownOutcome::Fail,
        };
        let Self { instructions, model, parameters, tools, limits, on_unknown_outcome: _, time_zone } = self;
        Ok(AgentSpec {
            instructions,
            model,
            parameters: parameters.unwrap_or_default().from_wire(&join(path, "parameters"))?,
            tools: list(&join(path, "tools"), tools)?,
            limits: limits.unwrap_or_default().from_wire(&join(path, "limits"))?,
            on_unknown_outcome,
            time_zone,
        })
    }
}

impl IntoWire<pb::ModelParameters> for ModelParameters {
    fn into_wire(self) -> pb::ModelParameters {
        let Self { temperature, top_p, max_output_tokens } = self;
        pb::ModelParameters { temperature, top_p, max_output_tokens: max_output_tokens.map(signed) }
    }
}

impl FromWire<ModelParameters> for pb::ModelParameters {
    fn from_wire(self, path: &str) -> Result<ModelParameters, Refusal> {
        let Self { temperature, top_p, max_output_tokens } = self;
        let tokens = max_output_tokens.map(|tokens| unsigned(&join(path, "max_output_tokens"), tokens));
        Ok(ModelParameters { temperature, top_p, max_output_tokens: tokens.transpose()? })
    }
}

impl IntoWire<pb::AgentLimits> for AgentLimits {
    fn into_wire(self) -> pb::AgentLimits {
        let Self { max_steps, context_window_tokens, model_idle_ms, tool_timeout_ms, progress_timeout_ms } = self;
        pb::AgentLimits {
            max_steps: signed32(max_steps),
            context_window_tokens: signed(context_window_tokens),
            model_idle_timeout: Some(Duration::from_millis(model_idle_ms).into_wire()),
            tool_timeout: Some(Duration::from_millis(tool_timeout_ms).into_wire()),
            progress_timeout: Some(Duration::from_millis(progress_timeout_ms).into_wire()),
        }
    }
}

impl FromWire<AgentLimits> for pb::AgentLimits {
    /// What is zero or absent takes its default.
    fn from_wire(self, path: &str) -> Result<AgentLimits, Refusal> {
        let Self { max_steps, context_window_tokens, model_idle_timeout, tool_timeout, progress_timeout } = self;
        let mut limits = AgentLimits::default();
        if max_steps != 0 {
            limits.max_steps = unsigned(&join(path, "max_steps"), max_steps)?;
        }
        if context_window_tokens != 0 {
            limits.context_window_tokens = unsigned(&join(path, "context_window_tokens"), context_window_tokens)?;
        }
        if let Some(timeout) = model_idle_timeout {
            limits.model_idle_ms = millis(timeout, &join(path, "model_idle_timeout"))?;
        }
        if let Some(timeout) = tool_timeout {
            limits.tool_timeout_ms = millis(timeout, &join(path, "tool_timeout"))?;
        }
        limits.progress_timeout_ms = match progress_timeout {
            Some(timeout) => millis(timeout, &join(path, "progress_timeout"))?,
            None => limits.progress_timeout_default_ms(),
        };
        Ok(limits)
    }
}

fn millis(duration: prost_types::Duration, path: &str) -> Result<u64, Refusal> {
    let duration: Duration = duration.from_wire(path)?;
    unsigned(path, duration.as_millis())
}

impl IntoWire<pb::Tool> for Tool {
    fn into_wire(self) -> pb::Tool {
        let Self { name, description, policy, kind } = self;
        let policy = match policy {
            ToolPolicy::Allow => pb::tool::Policy::Allow,
            ToolPolicy::Deny => pb::tool::Policy::Deny,
        };
        let kind = match kind {
            ToolKind::Builtin => pb::tool::Kind::Builtin(pb::BuiltinTool {}),
            ToolKind::Http { url, schema, idempotent } => {
                pb::tool::Kind::Http(pb::HttpTool { url, parameters_schema_json: schema, idempotent })
            }
        };
        pb::Tool { name, description, policy: policy.into(), kind: Some(kind) }
    }
}

impl FromWire<Tool> for pb::Tool {
    fn from_wire(self, path: &str) -> Result<Tool, Refusal> {
        // A policy from a later version must not be taken for leave.
        let policy = match known(&join(path, "policy"), self.policy)? {
            pb::tool::Policy::Unspecified | pb::tool::Policy::Allow => ToolPolicy::Allow,
            pb::tool::Policy::Deny => ToolPolicy::Deny,
        };
        let Self { name, description, policy: _, kind } = self;
        let kind = match kind {
            None => return Err(Refusal::field(path, "want one of builtin, http")),
            Some(pb::tool::Kind::Builtin(pb::BuiltinTool {})) => ToolKind::Builtin,
            Some(pb::tool::Kind::Http(pb::HttpTool { url, parameters_schema_json, idempotent })) => {
                let empty = parameters_schema_json.trim().is_empty();
                let schema = if empty { EMPTY_SCHEMA.to_owned() } else { parameters_schema_json };
                ToolKind::Http { url, schema, idempotent }
            }
        };
        Ok(Tool { name, description, policy, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_comes_back_as_it_went() {
        let http = ToolKind::Http { url: "http://x/".into(), schema: "{}".into(), idempotent: true };
        let spec = AgentSpec {
            instructions: "i".into(),
            model: "m".into(),
            parameters: ModelParameters { temperature: Some(0.5), top_p: None, max_output_tokens: Some(7) },
            tools: vec![
                Tool { name: "a".into(), description: "d".into(), policy: ToolPolicy::Deny, kind: http },
                Tool {
                    name: "current_time".into(),
                    description: String::new(),
                    policy: ToolPolicy::Allow,
                    kind: ToolKind::Builtin,
                },
            ],
            limits: AgentLimits {
                max_steps: 3,
                context_window_tokens: 4_000,
                model_idle_ms: 5,
                tool_timeout_ms: 6,
                progress_timeout_ms: 60_007,
            },
            on_unknown_outcome: OnUnknownOutcome::Fail,
            time_zone: "+02:00".into(),
        };
        assert_eq!(spec.clone().into_wire().from_wire("spec"), Ok(spec));
        assert_eq!(pb::AgentSpec::default().from_wire("spec"), Ok(AgentSpec::default()));
    }
}
