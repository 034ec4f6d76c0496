//! Agents: what answers on a thread.

use crate::Timestamp;
use crate::error::Refusal;
use crate::id::AgentId;
use crate::{limits, schema, text};
use serde::{Deserialize, Serialize};

/// An agent at one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its name, unique in the org.
    pub name: String,
    /// Raised by every update, from 1.
    pub version: u64,
    /// The definition.
    pub spec: AgentSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
}

/// The definition of an agent. Stored as JSON: names are durable.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSpec {
    /// The system prompt.
    pub instructions: String,
    /// The model; empty for the mesh's default.
    pub model: String,
    /// Parameters of the model call.
    pub parameters: ModelParameters,
    /// The tools.
    pub tools: Vec<Tool>,
    /// Bounds of one run.
    pub limits: AgentLimits,
    /// What to do with a call that may have happened.
    pub on_unknown_outcome: OnUnknownOutcome,
    /// A UTC offset, `+02:00`; UTC when empty.
    pub time_zone: String,
}

/// Parameters of the model call; what is absent is left to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelParameters {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Tokens of one answer at most.
    pub max_output_tokens: Option<u64>,
}

/// Bounds of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Model calls of one turn.
    pub max_steps: u32,
    /// The model's window.
    pub context_window_tokens: u64,
    /// The longest silence of a model's stream, in milliseconds.
    pub model_idle_ms: u64,
    /// The longest one tool call may take, in milliseconds.
    pub tool_timeout_ms: u64,
    /// How long an attempt may journal nothing before it is taken from its worker, in milliseconds.
    pub progress_timeout_ms: u64,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            max_steps: limits::STEPS_DEFAULT,
            context_window_tokens: limits::CONTEXT_TOKENS_DEFAULT,
            model_idle_ms: 120_000,
            tool_timeout_ms: 600_000,
            progress_timeout_ms: limits::PROGRESS_TIMEOUT_MS_DEFAULT,
        }
    }
}

/// What to do with a tool call that may or may not have happened when its worker was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknownOutcome {
    /// Wait for a person.
    #[default]
    Ask,
    /// Fail the run.
    Fail,
}

/// A tool that the agent may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// Whether calls run.
    #[serde(default)]
    pub policy: ToolPolicy,
    /// What it is.
    pub kind: ToolKind,
}

/// Whether calls of a tool run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolPolicy {
    /// They run.
    #[default]
    Allow,
    /// They are refused, and the model is told.
    Deny,
}

/// What a tool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToolKind {
    /// One that runmesh has itself, known by the tool's name.
    Builtin,
    /// One behind a URL.
    Http {
        /// Where the arguments are POSTed.
        url: String,
        /// The JSON schema of the arguments, as text.
        schema: String,
        /// True when a repeat with the same key does nothing new.
        idempotent: bool,
    },
}

/// The tools that runmesh has itself. All of them only read.
pub const BUILTIN_TOOLS: &[&str] = &["current_time"];

impl Tool {
    /// True when a repeat of a call with the same key does nothing new.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        match &self.kind {
            ToolKind::Builtin => true,
            ToolKind::Http { idempotent, .. } => *idempotent,
        }
    }
}

impl AgentSpec {
    /// The tool of that name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// Refuses a definition that could not run.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`] with the path of the field at fault.
    pub fn check(&self) -> Result<(), Refusal> {
        text::at_most_bytes("spec.instructions", &self.instructions, limits::INSTRUCTIONS_BYTES_MAX)?;
        text::at_most_bytes("spec.model", &self.model, limits::MODEL_BYTES_MAX)?;
        self.parameters.check()?;
        self.limits.check()?;
        check_time_zone(&self.time_zone)?;
        if self.tools.len() > limits::TOOLS_MAX {
            return Err(Refusal::field("spec.tools", format!("at most {} tools", limits::TOOLS_MAX)));
        }
        for (index, tool) in self.tools.iter().enumerate() {
            let path = format!("spec.tools[{index}]");
            tool.check(&path)?;
            if self.tools[..index].iter().any(|earlier| earlier.name == tool.name) {
                return Err(Refusal::field(format!("{path}.name"), "stands twice"));
            }
        }
        Ok(())
    }
}

impl ModelParameters {
    fn check(&self) -> Result<(), Refusal> {
        let outside = |value: Option<f64>, max: f64| value.is_some_and(|value| !(0.0..=max).contains(&value));
        if outside(self.temperature, 2.0) {
            return Err(Refusal::field("spec.parameters.temperature", "want 0 to 2"));
        }
        if outside(self.top_p, 1.0) {
            return Err(Refusal::field("spec.parameters.top_p", "want 0 to 1"));
        }
        if self.max_output_tokens == Some(0) {
            return Err(Refusal::field("spec.parameters.max_output_tokens", "want 1 or more"));
        }
        Ok(())
    }
}

impl AgentLimits {
    /// The least that an attempt must be given: what one model call and one tool call may take without a word.
    #[must_use]
    pub const fn progress_timeout_least_ms(&self) -> u64 {
        let one_step = self.model_idle_ms.saturating_add(self.tool_timeout_ms);
        if one_step > limits::PROGRESS_TIMEOUT_MS_MIN { one_step } else { limits::PROGRESS_TIMEOUT_MS_MIN }
    }

    /// What an attempt is given where nothing is said of it.
    #[must_use]
    pub const fn progress_timeout_default_ms(&self) -> u64 {
        let least = self.progress_timeout_least_ms();
        if least > limits::PROGRESS_TIMEOUT_MS_DEFAULT { least } else { limits::PROGRESS_TIMEOUT_MS_DEFAULT }
    }

    fn check(&self) -> Result<(), Refusal> {
        if !(1..=limits::STEPS_MAX).contains(&self.max_steps) {
            return Err(Refusal::field("spec.limits.max_steps", format!("want 1 to {}", limits::STEPS_MAX)));
        }
        if self.context_window_tokens < limits::CONTEXT_TOKENS_MIN {
            let want = format!("want {} or more", limits::CONTEXT_TOKENS_MIN);
            return Err(Refusal::field("spec.limits.context_window_tokens", want));
        }
        if !(1..=3_600_000).contains(&self.model_idle_ms) {
            return Err(Refusal::field("spec.limits.model_idle_timeout", "want 1 ms to 1 h"));
        }
        if !(1..=3_600_000).contains(&self.tool_timeout_ms) {
            return Err(Refusal::field("spec.limits.tool_timeout", "want 1 ms to 1 h"));
        }
        let least = self.progress_timeout_least_ms();
        if !(least..=limits::PROGRESS_TIMEOUT_MS_MAX).contains(&self.progress_timeout_ms) {
            let want = format!("want {least} ms (1 min, and model_idle_timeout and tool_timeout together) to 24 h");
            return Err(Refusal::field("spec.limits.progress_timeout", want));
        }
        Ok(())
    }
}

impl Tool {
    fn check(&self, path: &str) -> Result<(), Refusal> {
        text::name(&format!("{path}.name"), &self.name, true)?;
        text::at_most_chars(&format!("{path}.description"), &self.description, limits::TOOL_DESCRIPTION_CHARS_MAX)?;
        match &self.kind {
            ToolKind::Builtin if BUILTIN_TOOLS.contains(&self.name.as_str()) => Ok(()),
            ToolKind::Builtin => Err(Refusal::field(
                format!("{path}.name"),
                format!("no such built-in tool; there are: {}", BUILTIN_TOOLS.join(", ")),
            )),
            ToolKind::Http { url, schema, .. } => check_http_tool(path, url, schema),
        }
    }
}

fn check_http_tool(path: &str, url: &str, schema: &str) -> Result<(), Refusal> {
    let field = format!("{path}.http.url");
    text::at_most_bytes(&field, url, limits::URL_BYTES_MAX)?;
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if !host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && !host.contains(char::is_whitespace)) {
        return Err(Refusal::field(field, "want an http or https URL"));
    }
    let field = format!("{path}.http.parameters_schema_json");
    text::at_most_bytes(&field, schema, limits::SCHEMA_BYTES_MAX)?;
    schema::check(schema).map_err(|problem| Refusal::field(field, problem))
}

/// Refuses what is not a UTC offset. Seconds east of UTC.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `spec.time_zone`.
pub fn check_time_zone(zone: &str) -> Result<i32, Refusal> {
    let wrong = || Refusal::field("spec.time_zone", "want a UTC offset such as +02:00, or nothing for UTC");
    if zone.is_empty() || zone == "UTC" {
        return Ok(0);
    }
    let (sign, rest) = match zone.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, max: i32| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i32>().ok().filter(|n| digits && *n <= max).ok_or_else(wrong)
    };
    Ok(sign * (number(hours, 14)? * 3_600 + number(minutes, 59)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(name: &str, url: &str, schema: &str) -> Tool {
        let kind = ToolKind::Http { url: url.into(), schema: schema.into(), idempotent: false };
        Tool { name: name.into(), description: String::new(), policy: ToolPolicy::Allow, kind }
    }

    fn fault_of(spec: &AgentSpec) -> String {
        match spec.check() {
            Err(Refusal::InvalidField { field, .. }) => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_the_field_at_fault() {
        assert_eq!(AgentSpec::default().check(), Ok(()));
        let with = |tool: Tool| AgentSpec { tools: vec![tool], ..AgentSpec::default() };
        assert_eq!(with(http("a", "http://x/", "{}")).check(), Ok(()));
        assert_eq!(fault_of(&with(http("a b", "http://x/", "{}"))), "spec.tools[0].name");
        assert_eq!(fault_of(&with(http("a", "ftp://x/", "{}"))), "spec.tools[0].http.url");
        assert_eq!(fault_of(&with(http("a", "http://x/", "[]"))), "spec.tools[0].http.parameters_schema_json");
        let remote = r#"{"properties":{"x":{"$ref":"https://example.com/x.json"}}}"#;
        for bad in ["{", r##"{"$ref":"#"}"##, remote] {
            assert_eq!(fault_of(&with(http("a", "http://x/", bad))), "spec.tools[0].http.parameters_schema_json", "{bad}");
        }
        let twice = AgentSpec { tools: vec![http("a", "http://x/", "{}"); 2], ..AgentSpec::default() };
        assert_eq!(fault_of(&twice), "spec.tools[1].name");
        let limits = AgentLimits { max_steps: 0, ..AgentLimits::default() };
        assert_eq!(fault_of(&AgentSpec { limits, ..AgentSpec::default() }), "spec.limits.max_steps");
    }

    #[test]
    fn time_zones_are_offsets() {
        assert_eq!(check_time_zone("+05:30"), Ok(19_800));
        assert_eq!(check_time_zone("-02:00"), Ok(-7_200));
        assert!(check_time_zone("Europe/Berlin").is_err());
        assert!(check_time_zone("+2:00").is_err());
    }
}
