//! What can go wrong with a model call, told apart by what may be done about it.

use std::time::Duration;

/// Bytes of a provider's error that are read.
const ERROR_BODY_BYTES_MAX: usize = 8 << 10;
/// Characters of a provider's words that are kept.
const DETAIL_CHARS_MAX: usize = 1_000;
/// How long a provider may take over the body of its error.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// What stands where a provider repeated the key.
const KEY_MASK: &str = "[key]";

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
    /// A stream that broke.
    pub(crate) fn broken(detail: impl Into<String>) -> Self {
        Self::Broken { detail: detail.into() }
    }

    /// No answer at all. The URL is left out of the words: it may hold credentials.
    pub(crate) fn of_transport(error: reqwest::Error) -> Self {
        let what = if error.is_connect() { "the model cannot be reached" } else { "the model did not answer" };
        Self::Retryable { status: None, retry_after: None, detail: format!("{what}: {}", root_cause(&error.without_url())) }
    }

    /// An answer that is not a success.
    pub(crate) async fn of_answer(response: reqwest::Response, key: Option<&str>) -> Self {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let words = provider_words(&error_body(response).await, key);
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
fn provider_words(body: &[u8], key: Option<&str>) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let message = json.as_ref().and_then(error_message).unwrap_or_else(|| text.trim().to_owned());
    let message = match key {
        Some(key) if !key.is_empty() => message.replace(key, KEY_MASK),
        _ => message,
    };
    message.replace('\0', "\u{fffd}").chars().take(DETAIL_CHARS_MAX).collect()
}

/// The words of `{"error":{"message":…}}`, `{"error":…}` or `{"message":…}`.
pub(crate) fn error_message(json: &serde_json::Value) -> Option<String> {
    let error = json.get("error").unwrap_or(json);
    let message = error.get("message").unwrap_or(error);
    message.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_providers_words_and_not_the_key() {
        let body = br#"{"error":{"message":"bad key sk-123 given","type":"auth"}}"#;
        assert_eq!(provider_words(body, Some("sk-123")), "bad key [key] given");
        assert_eq!(provider_words(b" plain ", None), "plain");
        assert_eq!(provider_words(br#"{"message":"m"}"#, None), "m");
        assert_eq!(provider_words(&[b'x'; 9_000], None).len(), DETAIL_CHARS_MAX);
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
