//! The format of `agent.yaml`. A key that is not known is an error that names it. Checks the whole definition before
//! anything is sent.

use super::span;
use runmesh_domain::agent::{AgentLimits, AgentSpec, ModelParameters, OnUnknownOutcome, Tool, ToolKind, ToolPolicy};
use runmesh_domain::text;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentFile {
    name: String,
    #[serde(default)]
    instructions: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    parameters: ModelParameters,
    #[serde(default)]
    tools: Vec<ToolFile>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    on_unknown_outcome: OnUnknownOutcome,
    #[serde(default)]
    time_zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolFile {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    policy: ToolPolicy,
    #[serde(default)]
    builtin: bool,
    http: Option<HttpFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpFile {
    url: String,
    parameters: Option<Value>,
    #[serde(default)]
    idempotent: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    max_steps: Option<u32>,
    context_window_tokens: Option<u64>,
    model_idle_timeout: Option<String>,
    tool_timeout: Option<String>,
    progress_timeout: Option<String>,
}

/// The name and the definition in a file.
///
/// # Errors
/// In words: the key at fault and what was wanted.
pub fn parse(yaml: &str) -> Result<(String, AgentSpec), String> {
    let file: AgentFile = serde_yaml_ng::from_str(yaml).map_err(|error| error.to_string())?;
    let AgentFile { name, instructions, model, parameters, tools, limits, on_unknown_outcome, time_zone } = file;
    text::name("name", &name, false).map_err(|refusal| refusal.to_string())?;
    let tools = tools.into_iter().enumerate().map(|(index, tool)| tool_of(index, tool)).collect::<Result<_, _>>()?;
    let spec = AgentSpec { instructions, model, parameters, tools, limits: limits_of(limits)?, on_unknown_outcome, time_zone };
    spec.check().map_err(|refusal| refusal.to_string().trim_start_matches("spec.").to_owned())?;
    Ok((name, spec))
}

fn tool_of(index: usize, file: ToolFile) -> Result<Tool, String> {
    let ToolFile { name, description, policy, builtin, http } = file;
    let kind = match (builtin, http) {
        (true, None) => ToolKind::Builtin,
        (false, Some(http)) => http_of(index, http)?,
        (true, Some(_)) | (false, None) => {
            return Err(format!("tools[{index}] ({name}): want either `builtin: true` or `http:`"));
        }
    };
    Ok(Tool { name, description, policy, kind })
}

fn http_of(index: usize, file: HttpFile) -> Result<ToolKind, String> {
    let HttpFile { url, parameters, idempotent } = file;
    let schema = match parameters {
        None => r#"{"type":"object"}"#.to_owned(),
        Some(Value::Object(schema)) => Value::Object(schema).to_string(),
        Some(_) => return Err(format!("tools[{index}].http.parameters: want a JSON schema as a mapping")),
    };
    Ok(ToolKind::Http { url, schema, idempotent })
}

fn limits_of(file: LimitsFile) -> Result<AgentLimits, String> {
    let LimitsFile { max_steps, context_window_tokens, model_idle_timeout, tool_timeout, progress_timeout } = file;
    let defaults = AgentLimits::default();
    let millis = |key: &str, text: Option<String>, default: u64| {
        text.map_or(Ok(default), |text| span::millis(&text).map_err(|problem| format!("limits.{key}: {problem}")))
    };
    let mut limits = AgentLimits {
        max_steps: max_steps.unwrap_or(defaults.max_steps),
        context_window_tokens: context_window_tokens.unwrap_or(defaults.context_window_tokens),
        model_idle_ms: millis("model_idle_timeout", model_idle_timeout, defaults.model_idle_ms)?,
        tool_timeout_ms: millis("tool_timeout", tool_timeout, defaults.tool_timeout_ms)?,
        ..defaults
    };
    limits.progress_timeout_ms = millis("progress_timeout", progress_timeout, limits.progress_timeout_default_ms())?;
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name: helper
instructions: |
  Be brief.
model: small
parameters: {temperature: 0.2, top_p: 0.9, max_output_tokens: 500}
tools:
  - name: current_time
    builtin: true
  - name: weather
    description: The weather of a city.
    policy: deny
    http:
      url: https://tools.example/weather
      idempotent: true
      parameters:
        type: object
        properties: {city: {type: string}}
limits: {max_steps: 7, model_idle_timeout: 120s, tool_timeout: 5m}
on_unknown_outcome: fail
time_zone: "+02:00"
"#;

    #[test]
    fn a_whole_file_is_understood() {
        let (name, spec) = parse(WHOLE).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!((name.as_str(), spec.model.as_str(), spec.instructions.as_str()), ("helper", "small", "Be brief.\n"));
        assert_eq!(spec.tools.len(), 2);
        assert_eq!(spec.tools[1].policy, ToolPolicy::Deny);
        let ToolKind::Http { schema, idempotent, .. } = &spec.tools[1].kind else { panic!("an http tool") };
        assert!(*idempotent);
        assert_eq!(schema, r#"{"type":"object","properties":{"city":{"type":"string"}}}"#);
        assert_eq!((spec.limits.max_steps, spec.limits.tool_timeout_ms), (7, 300_000));
        assert_eq!(spec.limits.context_window_tokens, AgentLimits::default().context_window_tokens);
        assert_eq!(spec.on_unknown_outcome, OnUnknownOutcome::Fail);
    }

    #[test]
    fn errors_name_the_key() {
        let wrong = [
            ("name: a\ntemprature: 1", "temprature"),
            ("name: a\nparameters: {temprature: 1}", "temprature"),
            ("name: a\ntools: [{name: t, buildin: true}]", "buildin"),
            ("name: a\ntools: [{name: t}]", "tools[0]"),
            ("name: a\ntools: [{name: t, builtin: true, http: {url: http://x}}]", "tools[0]"),
            ("name: a\ntools: [{name: t, builtin: true}]", "tools[0].name"),
            ("name: a\ntools: [{name: t, http: {url: 'ftp://x'}}]", "tools[0].http.url"),
            ("name: a\ntools: [{name: t, http: {url: 'http://x', parameters: 3}}]", "tools[0].http.parameters"),
            ("name: a\nlimits: {tool_timeout: 5}", "limits"),
            ("name: a\nlimits: {tool_timeout: soon}", "limits.tool_timeout"),
            ("name: a\nlimits: {max_steps: 0}", "limits.max_steps"),
            ("name: a\nname: b", "name"),
            ("name: A B", "name"),
            ("model: m", "name"),
        ];
        for (yaml, key) in wrong {
            let problem = parse(yaml).err().unwrap_or_default();
            assert!(problem.contains(key), "want {key} in {problem:?}");
        }
    }
}
