//! Claims signed with the key the mesh shares: the principal of a hop, the token of a run. HS256 and nothing else, audience,
//! expiry and type always checked. Never used for tokens of users, which are [`identity`](crate::identity)'s.

mod key;

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use key::{KeyError, MeshKey};

/// How far clocks of two hosts may be apart, seconds.
const LEEWAY_SECONDS: u64 = 5;

/// Longest token looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a token was refused. Never says more than the caller may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours: malformed, another algorithm, type, issuer or audience, or signed with another key.
    #[error("token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// It could not be made: the claims do not serialise.
    #[error("claims cannot be signed")]
    Unsignable,
}

impl TokenError {
    pub(crate) fn from_jwt(error: &jsonwebtoken::errors::Error) -> Self {
        match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => Self::Expired,
            _ => Self::Invalid,
        }
    }
}

/// Claims whose signature, type, audience and expiry held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    /// What was signed.
    pub claims: T,
    /// When it ends, seconds of Unix time. Long streams check it again.
    pub expires_at: u64,
}

impl<T: Send + Sync + 'static> Verified<T> {
    /// The claims that the server found in the request's header and verified; none where the server verifies no claims of this
    /// type.
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Option<&T> {
        extensions.get::<Self>().map(|verified| &verified.claims)
    }
}

#[derive(Serialize)]
struct Signing<'a, T> {
    aud: &'a str,
    exp: u64,
    iat: u64,
    claims: &'a T,
}

#[derive(Deserialize)]
struct Verifying<T> {
    exp: u64,
    claims: T,
}

/// Signs claims of one type for one audience.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    header: Header,
    audience: String,
}

impl Signer {
    /// A signer of tokens of `typ` (a header, such as `hop+jwt`) for `audience`.
    #[must_use]
    pub fn new(key: &MeshKey, typ: &str, audience: &str) -> Self {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(typ.to_owned());
        Self { key: EncodingKey::from_secret(key.expose()), header, audience: audience.to_owned() }
    }

    /// A token that is good for `ttl`, rounded up to a second.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsignable`] when the claims do not serialise.
    pub fn sign<T: Serialize>(&self, claims: &T, ttl: Duration) -> Result<String, TokenError> {
        let iat = jsonwebtoken::get_current_timestamp();
        let exp = iat.saturating_add(ttl.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
        let body = Signing { aud: &self.audience, exp, iat, claims };
        jsonwebtoken::encode(&self.header, &body, &self.key).map_err(|_| TokenError::Unsignable)
    }
}

/// Verifies what a [`Signer`] of the same key, type and audience made.
#[derive(Clone)]
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
    typ: String,
}

impl Verifier {
    /// A verifier of tokens of `typ` for `audience`.
    #[must_use]
    pub fn new(key: &MeshKey, typ: &str, audience: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        Self { key: DecodingKey::from_secret(key.expose()), validation, typ: typ.to_owned() }
    }

    /// The claims of `token`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Expired`] more than five seconds after its end, [`TokenError::Invalid`] for everything else.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<Verified<T>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let data =
            jsonwebtoken::decode::<Verifying<T>>(token, &self.key, &self.validation).map_err(|e| TokenError::from_jwt(&e))?;
        if data.header.typ.as_deref() != Some(self.typ.as_str()) {
            return Err(TokenError::Invalid);
        }
        let Verifying { exp, claims } = data.claims;
        Ok(Verified { claims, expires_at: exp })
    }
}
