//! Whose tokens people bring, and the keys to check them with.

use std::path::PathBuf;

use runmesh_host::signed::MeshKey;
use serde::Deserialize;

use super::secret;
use crate::serve::ServeError;

/// Tokens of people. Exactly one of `key` (or `key_file`), `jwks_file` and `jwks_url` says where the keys come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuer, exactly as tokens name it.
    pub issuer: String,
    /// The audience that tokens must name. Default `runmesh`.
    #[serde(default = "default_audience")]
    pub audience: String,
    /// A symmetric key (HS256), hexadecimal digits: for development and tests.
    #[serde(default)]
    pub key: Option<MeshKey>,
    /// A file with that key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// A file with the issuer's public keys (JWKS), read again every five minutes.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Where the issuer publishes them, `https://…`; fetched every five minutes, and when a token names a key that is not there,
    /// then at most once a minute.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The claim that lists a person's orgs, by id or name, or as `*`: then the memberships in the mesh alone say which. Default
    /// `orgs`.
    #[serde(default = "default_org_claim")]
    pub org_claim: String,
    /// The org of people whose tokens have no such claim: for issuers that know of one org only, or `*`, for those that know of
    /// none. Default none.
    #[serde(default)]
    pub default_org: Option<String>,
}

fn default_audience() -> String {
    "runmesh".to_owned()
}

fn default_org_claim() -> String {
    "orgs".to_owned()
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// One key, known at start.
    Local(MeshKey),
    /// A JWKS document in a file.
    File(PathBuf),
    /// A JWKS document at a URL.
    Url(reqwest::Url),
}

impl JwtConfig {
    /// The one place where keys come from.
    pub(crate) fn keys(&self) -> Result<Keys, ServeError> {
        let has_key = self.key.is_some() || self.key_file.is_some();
        match (has_key, &self.jwks_file, &self.jwks_url) {
            (true, None, None) => secret("jwt.key", self.key.as_ref(), self.key_file.as_deref()).map(Keys::Local),
            (false, Some(file), None) => Ok(Keys::File(file.clone())),
            (false, None, Some(url)) => parse(url).map(Keys::Url),
            _ => Err(ServeError::Config("jwt wants exactly one of key, key_file, jwks_file and jwks_url".to_owned())),
        }
    }
}

fn parse(url: &str) -> Result<reqwest::Url, ServeError> {
    let refused = || ServeError::Config(format!("jwt.jwks_url: `{url}` is no https:// url"));
    let parsed: reqwest::Url = url.parse().map_err(|_| refused())?;
    // Keys over plain HTTP could be anybody's; a test or a sidecar on this machine may.
    let is_local = parsed.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    if parsed.scheme() == "https" || (parsed.scheme() == "http" && is_local) { Ok(parsed) } else { Err(refused()) }
}
