//! The model provider: a streaming client of OpenAI-compatible chat completions.
//!
//! It makes one call per [`Provider::call`] and never retries: whoever drives the run decides that. It never logs or
//! returns the key.

mod chunk;
mod error;
mod request;
mod secrets;
mod sse;
mod stream;

pub use chunk::{ModelChunk, ToolCallPiece};
pub use error::ModelError;
pub use request::{ChatCall, ChatFunction, ChatMessage, ChatRequest, ChatTool, Fields};
pub use secrets::Secrets;
pub use stream::ModelStream;

use runmesh_domain::id::RunId;
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

/// How long a connection to a provider or a tool may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Header that tells a provider's log which run a call belongs to.
const RUN_HEADER: &str = "x-runmesh-run";

/// Where the model is.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// An http or https URL, to which `/chat/completions` is added: `https://api.example.com/v1`.
    pub base_url: String,
    /// The bearer token; absent for servers that want none.
    pub api_key: Option<SecretString>,
}

/// Why a provider cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL is not an http or https URL.
    #[error("model base url: want an http or https url")]
    BaseUrl,
    /// The HTTP client cannot be built: mostly because no TLS provider is installed.
    #[error("http client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A client of one provider; cheap to clone.
#[derive(Clone)]
pub struct Provider {
    client: reqwest::Client,
    url: reqwest::Url,
    api_key: Option<SecretString>,
    secrets: Secrets,
}

impl std::fmt::Debug for Provider {
    /// Without the URL, which may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Provider {
    /// Builds the HTTP client, once. No proxy is taken from the environment and no redirect is followed: the key goes
    /// where the configuration says and nowhere else.
    ///
    /// # Errors
    /// [`BuildError`] when the URL is unusable or the client cannot be built.
    pub fn new(config: ModelConfig) -> Result<Self, BuildError> {
        let text = format!("{}/chat/completions", config.base_url.trim_end_matches('/'));
        let url = reqwest::Url::parse(&text).map_err(|_| BuildError::BaseUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BuildError::BaseUrl);
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .build()?;
        let secrets = Secrets::new(config.api_key.as_ref(), &url);
        Ok(Self { client, url, api_key: config.api_key, secrets })
    }

    /// What must not be shown of words from outside.
    #[must_use]
    pub const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Calls the model. `idle` bounds the wait for the answer's head and for every piece after it.
    ///
    /// # Errors
    /// [`ModelError`] for anything but a stream that has begun.
    pub async fn call(&self, request: &ChatRequest<'_>, run: RunId, idle: Duration) -> Result<ModelStream, ModelError> {
        let sent = self.request(request, run)?.send();
        let response = tokio::time::timeout(idle, sent).await.map_err(|_| ModelError::Idle { after: idle })?;
        let response = response.map_err(|error| ModelError::of_transport(error, &self.secrets))?;
        if !response.status().is_success() {
            return Err(ModelError::of_answer(response, &self.secrets).await);
        }
        match encoding_of(&response) {
            None => Ok(ModelStream::new(response, idle, self.secrets.clone())),
            Some(encoding) => {
                let problem = format!("its answer has the content encoding {encoding}, which was not asked for");
                Err(ModelError::said(&self.secrets, &problem))
            }
        }
    }

    fn request(&self, request: &ChatRequest<'_>, run: RunId) -> Result<reqwest::RequestBuilder, ModelError> {
        let body =
            serde_json::to_vec(request).map_err(|error| ModelError::Permanent { status: None, detail: error.to_string() })?;
        let builder = self.client.post(self.url.clone());
        let builder = match self.key() {
            Some(key) => builder.bearer_auth(key),
            None => builder,
        };
        let builder =
            builder.header(http::header::CONTENT_TYPE, "application/json").header(http::header::ACCEPT, "text/event-stream");
        let builder = builder.header(http::header::ACCEPT_ENCODING, "identity");
        Ok(builder.header(RUN_HEADER, run.to_string()).body(body))
    }

    fn key(&self) -> Option<&str> {
        self.api_key.as_ref().map(|key| key.expose_secret())
    }
}

/// The encoding of a body that cannot be read as it is.
fn encoding_of(response: &reqwest::Response) -> Option<String> {
    let encoding = response.headers().get(http::header::CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
    (!matches!(encoding.as_str(), "" | "identity")).then_some(encoding)
}
