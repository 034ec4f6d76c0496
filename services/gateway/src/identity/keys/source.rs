//! Reads a JWKS document from a file or a URL. Follows no redirect, uses no proxy and reads no more than a bound.

use std::path::PathBuf;
use std::time::Duration;

use crate::serve::ServeError;

/// Largest document read.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Time to fetch one.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the document is.
pub(super) enum Source {
    /// Mounted beside the process.
    File(PathBuf),
    /// Published by the issuer.
    Url(reqwest::Client, reqwest::Url),
}

impl Source {
    /// A document at `url`.
    pub(super) fn url(url: reqwest::Url) -> Result<Self, ServeError> {
        // The client panics without one. Whoever came first stays: the process has one provider.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.build().map_err(|error| ServeError::Config(format!("jwt.jwks_url: {error}")))?;
        Ok(Self::Url(client, url))
    }

    /// The document as it is now, or what went wrong.
    pub(super) async fn read(&self) -> Result<String, String> {
        match self {
            Self::File(path) => tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display())),
            Self::Url(client, url) => fetch(client, url).await,
        }
    }
}

async fn fetch(client: &reqwest::Client, url: &reqwest::Url) -> Result<String, String> {
    let answer = client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(|error| error.to_string())?;
    let mut document = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| error.to_string())? {
        document.extend_from_slice(&chunk);
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("larger than {DOCUMENT_BYTES_MAX} bytes"));
        }
    }
    String::from_utf8(document).map_err(|error| error.to_string())
}
