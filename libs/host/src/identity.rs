//! Who a user is: a JWT checked against exact issuer and audience with keys of one source. Never accepts an algorithm the
//! token asks for; the key decides.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::signed::{MeshKey, TokenError};

const LEEWAY_SECONDS: u64 = 5;
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// `typ` of tokens of users: absent, `JWT`, or RFC 9068's. Tokens of other types are not for us.
const TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// A user, as the token says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer: exactly the one configured.
    pub issuer: String,
    /// The user at that issuer. Issuer and subject together name a person.
    pub subject: String,
    /// When the token ends, seconds of Unix time.
    pub expires_at: u64,
    /// A name to show, if the token has one.
    pub name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: serde_json::Value,
    sub: String,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What a local issuer signs.
#[derive(Serialize)]
struct Issued {
    #[serde(flatten)]
    standard: Claims,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

/// Where keys come from.
enum Keys {
    /// One HS256 key: development, and `runmesh token`.
    Local(DecodingKey),
    /// Public keys of a JWKS document by their `kid`; whoever fetches it calls [`IdentityVerifier::replace_jwks`].
    Published(RwLock<Arc<HashMap<String, (Algorithm, DecodingKey)>>>),
}

/// Verifies tokens of users.
pub struct IdentityVerifier {
    keys: Keys,
    issuer: String,
    audience: String,
}

impl IdentityVerifier {
    /// With a local key.
    #[must_use]
    pub fn local(key: &MeshKey, issuer: &str, audience: &str) -> Self {
        Self {
            keys: Keys::Local(DecodingKey::from_secret(key.expose())),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        }
    }

    /// With the published keys of a JWKS document. Symmetric keys and keys without `kid` or `alg` are passed over.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] when the document does not parse or holds no usable key.
    pub fn published(jwks: &str, issuer: &str, audience: &str) -> Result<Self, TokenError> {
        let keys = Keys::Published(RwLock::new(Arc::new(parse_jwks(jwks)?)));
        Ok(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// Takes over a newer JWKS document; a bad one changes nothing, so the last good keys stay.
    ///
    /// # Errors
    ///
    /// As [`IdentityVerifier::published`], and for a verifier with a local key.
    pub fn replace_jwks(&self, jwks: &str) -> Result<(), TokenError> {
        let Keys::Published(keys) = &self.keys else { return Err(TokenError::Invalid) };
        let fresh = Arc::new(parse_jwks(jwks)?);
        *keys.write().map_err(|_| TokenError::Invalid)? = fresh;
        Ok(())
    }

    /// Whether the published keys hold `kid`: when not, the caller may refetch (at most once a minute).
    #[must_use]
    pub fn knows_key_of(&self, token: &str) -> bool {
        match (&self.keys, jsonwebtoken::decode_header(token)) {
            (Keys::Local(_), _) | (_, Err(_)) => true,
            (Keys::Published(keys), Ok(header)) => {
                let keys = keys.read().map(|keys| Arc::clone(&keys)).unwrap_or_default();
                header.kid.is_none_or(|kid| keys.contains_key(&kid))
            }
        }
    }

    /// The user `token` speaks for.
    ///
    /// # Errors
    ///
    /// [`TokenError::Expired`], [`TokenError::Invalid`].
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        if !header.typ.as_deref().is_none_or(|typ| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ))) {
            return Err(TokenError::Invalid);
        }
        match &self.keys {
            Keys::Local(key) => self.decode(token, key, Algorithm::HS256),
            Keys::Published(keys) => {
                let keys = keys.read().map(|keys| Arc::clone(&keys)).map_err(|_| TokenError::Invalid)?;
                let (algorithm, key) = header.kid.and_then(|kid| keys.get(&kid)).ok_or(TokenError::Invalid)?;
                self.decode(token, key, *algorithm)
            }
        }
    }

    fn decode(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Identity, TokenError> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let data = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|e| TokenError::from_jwt(&e))?;
        let Claims { iss, aud: _, sub, exp, name } = data.claims;
        if sub.is_empty() {
            return Err(TokenError::Invalid);
        }
        Ok(Identity { issuer: iss, subject: sub, expires_at: exp, name })
    }
}

/// Makes tokens of users with a local key. For development and `runmesh token` only.
pub struct LocalIssuer {
    key: EncodingKey,
    issuer: String,
    audience: String,
}

impl LocalIssuer {
    /// An issuer whose tokens [`IdentityVerifier::local`] of the same arguments accepts.
    #[must_use]
    pub fn new(key: &MeshKey, issuer: &str, audience: &str) -> Self {
        Self { key: EncodingKey::from_secret(key.expose()), issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// A token for `subject`, good for `ttl`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsignable`].
    pub fn issue(&self, subject: &str, name: Option<&str>, ttl: Duration) -> Result<String, TokenError> {
        self.issue_with(subject, name, ttl, &[])
    }

    /// As [`LocalIssuer::issue`], with claims of the caller's own beside the standard ones.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsignable`].
    pub fn issue_with(
        &self,
        subject: &str,
        name: Option<&str>,
        ttl: Duration,
        more: &[(&str, serde_json::Value)],
    ) -> Result<String, TokenError> {
        let standard = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone().into(),
            sub: subject.to_owned(),
            exp: jsonwebtoken::get_current_timestamp().saturating_add(ttl.as_secs()),
            name: name.map(str::to_owned),
        };
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let claims = Issued { standard, more };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key).map_err(|_| TokenError::Unsignable)
    }
}

fn parse_jwks(document: &str) -> Result<HashMap<String, (Algorithm, DecodingKey)>, TokenError> {
    let set: JwkSet = serde_json::from_str(document).map_err(|_| TokenError::Invalid)?;
    let mut keys = HashMap::new();
    for jwk in &set.keys {
        // A symmetric key in a public document is either a mistake or an attack.
        if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
            continue;
        }
        let algorithm = jwk.common.key_algorithm.and_then(|algorithm| algorithm.to_string().parse::<Algorithm>().ok());
        if let (Some(kid), Some(algorithm), Ok(key)) = (&jwk.common.key_id, algorithm, DecodingKey::from_jwk(jwk)) {
            keys.insert(kid.clone(), (algorithm, key));
        }
    }
    if keys.is_empty() { Err(TokenError::Invalid) } else { Ok(keys) }
}
