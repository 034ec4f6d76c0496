//! Whether a tool call may run: a pure function of the frozen spec and the call. It never fails open: what it does not
//! know does not run.

use crate::agent::{AgentSpec, ToolPolicy};
use crate::canonical;
use crate::journal::AskedCall;
use serde::{Deserialize, Serialize};

/// What the policy says of a call. Stored as JSON: names are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Verdict {
    /// It may run.
    Allow,
    /// It may not, and the model is told why.
    Deny {
        /// In words for the model.
        reason: String,
    },
}

/// The verdict on one call, with its canonical arguments when they are well formed.
#[must_use]
pub fn judge(spec: &AgentSpec, call: &AskedCall<'_>) -> (Verdict, Option<String>) {
    let Some(tool) = spec.tool(call.name) else {
        let known: Vec<_> = spec.tools.iter().map(|tool| tool.name.as_str()).collect();
        let reason = format!("there is no tool called {:?}; there are: {}", call.name, known.join(", "));
        return (Verdict::Deny { reason }, None);
    };
    let arguments = match canonical::arguments(call.arguments) {
        Ok(arguments) => arguments,
        Err(reason) => return (Verdict::Deny { reason }, None),
    };
    match tool.policy {
        ToolPolicy::Allow => (Verdict::Allow, Some(arguments)),
        ToolPolicy::Deny => (Verdict::Deny { reason: "the agent's policy denies this tool".to_owned() }, Some(arguments)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Tool, ToolKind};

    fn spec(policy: ToolPolicy) -> AgentSpec {
        let tool = Tool { name: "current_time".into(), description: String::new(), policy, kind: ToolKind::Builtin };
        AgentSpec { tools: vec![tool], ..AgentSpec::default() }
    }

    fn call<'a>(name: &'a str, arguments: &'a str) -> AskedCall<'a> {
        AskedCall { call_index: 0, call_id: "c", name, arguments }
    }

    #[test]
    fn a_refused_name_is_told_as_the_model_wrote_it() {
        let (verdict, _) = judge(&spec(ToolPolicy::Allow), &call("functions.echo\" />", "{}"));
        let Verdict::Deny { reason } = verdict else { panic!("it may not run") };
        assert_eq!(reason, r#"there is no tool called "functions.echo\" />"; there are: current_time"#);
    }

    #[test]
    fn arguments_are_journaled_with_every_digit() {
        let (_, arguments) = judge(&spec(ToolPolicy::Allow), &call("current_time", r#"{"b":9007199254740993,"a":1e400}"#));
        assert_eq!(arguments.as_deref(), Some(r#"{"a":1e400,"b":9007199254740993}"#));
    }

    #[test]
    fn never_fails_open() {
        let denied = |spec: &AgentSpec, call: &AskedCall<'_>| matches!(judge(spec, call).0, Verdict::Deny { .. });
        assert_eq!(judge(&spec(ToolPolicy::Allow), &call("current_time", "{}")).0, Verdict::Allow);
        assert!(denied(&spec(ToolPolicy::Allow), &call("rm", "{}")));
        assert!(denied(&spec(ToolPolicy::Allow), &call("current_time", "{")));
        assert!(denied(&spec(ToolPolicy::Deny), &call("current_time", "{}")));
        assert!(denied(&AgentSpec::default(), &call("current_time", "{}")));
    }
}
