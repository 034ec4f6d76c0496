//! What can go wrong with a model call, told apart by what may be done about it.

use super::secrets::Secrets;
use std::time::Duration;

/// Bytes of a provider's error that are read.
const ERROR_BODY_BYTES_MAX: usize = 8 << 10;
/// How long a provider may take over the body of its error.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What went wrong with a model call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The provider could not be reached, is overloaded or failed: another try may help.
    #[error("{detail}")]
    Retryable {
        /// The HTTP status; absent when there was no answer.
        status: Option<u16>,
        /// When the provider wants to be asked again.
        retry_after: Option<Duration>,
        /// In words.
        detail: String,
    },
    /// The provider refuses this call: no try will help.
    #[error("{detail}")]
    Permanent {
        /// The HTTP status; absent when the call could not even be written.
        status: Option<u16>,
        /// The provider's words, cut, without the key.
        detail: String,
    },
    /// The stream broke off, or ended without saying that it is whole.
    #[error("the model's stream broke: {detail}")]
    Broken {
        /// In words.
        detail: String,
    },
    /// Nothing came for too long.
    #[error("the model sent nothing for {} s", after.as_secs_f32())]
    Idle {
        /// The longest silence allowed.
        after: Duration,
    },
}

impl ModelError {
    /// A stream that broke, in words of ours.
    pub(crate) fn broken(detail: impl Into<String>) -> Self {
        Self::Broken { detail: detail.into() }
    }

    /// A stream that broke, in words from outside.
    pub(crate) fn said(secrets: &Secrets, words: &str) -> Self {
        Self::broken(secrets.words(words))
    }

    /// No answer at all. The URL is left out of the words: it may hold credentials.
    pub(crate) fn of_transport(error: reqwest::Error, secrets: &Secrets) -> Self {
        let what = if error.is_connect() { "the model cannot be reached" } else { "the model did not answer" };
        let detail = format!("{what}: {}", secrets.words(&root_cause(&error.without_url())));
        Self::Retryable { status: None, retry_after: None, detail }
    }

    /// An answer that is not a success.
    pub(crate) async fn of_answer(response: reqwest::Response, secrets: &Secrets) -> Self {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let elsewhere = redirect(&response, secrets);
        let words = elsewhere.unwrap_or(provider_words(&error_body(response).await, secrets));
        let detail = if words.is_empty() {
            format!("the model answered {status}")
        } else {
            format!("the model answered {status}: {words}")
        };
        match status {
            408 | 409 | 425 | 429 | 500..=599 => Self::Retryable { status: Some(status), retry_after, detail },
            _ => Self::Permanent { status: Some(status), detail },
        }
    }
}

/// The innermost error: the outer ones only say that there is one.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Where a redirect leads, without the query. None is followed: the key goes where the configuration says.
fn redirect(response: &reqwest::Response, secrets: &Secrets) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(http::header::LOCATION)?.to_str().ok()?;
    let place = secrets.words(location.split(['?', '#']).next().unwrap_or_default());
    Some(format!("it redirects to {place}; redirects are not followed, so name the right place in the model's base url"))
}

/// Seconds only: providers do not send dates.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

async fn error_body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(bytes)) = response.chunk().await {
            body.extend_from_slice(&bytes);
            if body.len() >= ERROR_BODY_BYTES_MAX {
                break;
            }
        }
    };
    // What came in time is what there is to show.
    let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, read).await;
    body.truncate(ERROR_BODY_BYTES_MAX);
    body
}

/// The message inside the usual error JSON, or the body as it is.
fn provider_words(body: &[u8], secrets: &Secrets) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    secrets.words(&json.as_ref().and_then(error_message).unwrap_or_else(|| text.into_owned()))
}

/// The words of `{"error":{"message":…}}`, `{"error":…}` or `{"message":…}`.
pub(crate) fn error_message(json: &serde_json::Value) -> Option<String> {
    // Google puts its error into a list.
    let json = json.as_array().and_then(|list| list.first()).unwrap_or(json);
    let error = json.get("error").filter(|error| !error.is_null()).unwrap_or(json);
    let message = ["message", "detail"].iter().find_map(|name| error.get(*name)).unwrap_or(error);
    message.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_providers_words_and_not_the_key() {
        let body = br#"{"error":{"message":"bad key sk-123 given","type":"auth"}}"#;
        let url = reqwest::Url::parse("https://example.com/v1").ok();
        let secrets =
            url.map(|url| Secrets::new(Some(&secrecy::SecretString::from("sk-123".to_owned())), &url)).unwrap_or_default();
        assert_eq!(provider_words(body, &secrets), "bad key [key] given");
        let none = Secrets::default();
        assert_eq!(provider_words(b" plain ", &none), "plain");
        assert_eq!(provider_words(br#"{"message":"m"}"#, &none), "m");
        assert_eq!(provider_words(br#"[{"error":{"code":400,"message":"m"}}]"#, &none), "m");
        assert_eq!(provider_words(br#"{"detail":"no such model"}"#, &none), "no such model");
        assert_eq!(provider_words(&[b'x'; 8_000], &none).len(), crate::model::secrets::WORDS_CHARS_MAX);
    }

    #[test]
    fn retry_after_in_seconds() {
        let mut headers = http::HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1.5"));
        assert_eq!(retry_after(&headers), Some(Duration::from_millis(1_500)));
        headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("-1"));
        assert_eq!(retry_after(&headers), None);
    }
}
