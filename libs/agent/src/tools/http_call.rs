//! A tool behind a URL: the arguments are POSTed as JSON with the call's idempotency key, the body of a 2xx answer is the
//! result. One request per call; redirects are errors.

use super::{ToolOutcome, ToolsConfig, addresses, schema};
use runmesh_domain::limits;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Header that lets a tool recognise a repeat.
const KEY_HEADER: &str = "idempotency-key";
/// Characters of an error's body that the model is shown.
const ERROR_CHARS_MAX: usize = 4_000;

/// What is called.
pub(super) struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) schema: &'a str,
    pub(super) key: &'a str,
    pub(super) timeout: Duration,
}

/// Calls, or says why not.
pub(super) async fn run(
    client: &reqwest::Client,
    checks: &Arc<Semaphore>,
    config: ToolsConfig,
    target: &Target<'_>,
    arguments: String,
) -> ToolOutcome {
    let deadline = Instant::now() + target.timeout;
    match tokio::time::timeout_at(deadline, schema::problem(checks, target.schema, &arguments)).await {
        Ok(None) => {}
        Ok(Some(problem)) => return ToolOutcome::error(problem),
        Err(_) => return ToolOutcome::error("the arguments were not checked in time; the tool did not run"),
    }
    let Ok(url) = reqwest::Url::parse(target.url) else {
        return ToolOutcome::error("the tool's URL cannot be used");
    };
    if !config.private_addresses && addresses::is_private_literal(&url) {
        return ToolOutcome::error("the tool's URL is not a public address");
    }
    let request =
        client.post(url).header(KEY_HEADER, target.key).header(http::header::CONTENT_TYPE, "application/json").body(arguments);
    match tokio::time::timeout_at(deadline, answer(request)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            ToolOutcome::error(format!("the tool did not answer within {} s; it may have run", target.timeout.as_secs_f32()))
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> ToolOutcome {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return ToolOutcome::error("the tool could not be reached; it did not run"),
        Err(_) => return ToolOutcome::error("the tool broke off the connection; it may have run"),
    };
    let status = response.status();
    let Ok(body) = text_of(response).await else {
        return ToolOutcome::error(format!("the tool answered {} and broke off; it may have run", status.as_u16()));
    };
    if status.is_success() {
        return ToolOutcome::result(body);
    }
    let words: String = body.trim().chars().take(ERROR_CHARS_MAX).collect();
    ToolOutcome::error(format!("the tool answered {}: {words}", status.as_u16()))
}

/// The body as text, read to just beyond the bound so that it is seen to be cut.
async fn text_of(mut response: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        body.extend_from_slice(&bytes);
        if body.len() > limits::TOOL_RESULT_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
