//! Tokens of people and the keys to check them with. Published keys are fetched every few minutes and when a token names one
//! that is not there; the last good ones stay until better ones are there.

mod source;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use runmesh_domain::{Fault, Refusal, Result};
use runmesh_host::Lifecycle;
use runmesh_host::identity::{Identity, IdentityVerifier};
use runmesh_host::signed::TokenError;
use tokio::sync::Notify;

use source::Source;

use super::claims;
use super::org::Orgs;
use crate::config::{JwtConfig, Keys};
use crate::serve::ServeError;

/// Time between looks at published keys.
const REFRESH: Duration = Duration::from_secs(300);
/// Time between looks at least, whatever tokens say: anybody can make up a key's name.
const REFRESH_MIN: Duration = Duration::from_secs(60);
/// Time between looks while none worked yet.
const FIRST: Duration = Duration::from_secs(1);

/// A person, as the token says it.
pub(super) struct Person {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) orgs: Orgs,
    pub(super) expires_at: u64,
}

/// Verifies tokens of people.
pub(super) struct People {
    issuer: Arc<Issuer>,
    org_claim: String,
    /// For tokens without the claim.
    default_orgs: Orgs,
}

/// What is known of the issuer.
struct Issuer {
    name: String,
    audience: String,
    source: Option<Source>,
    /// Empty until the first keys were fetched.
    verifier: OnceLock<IdentityVerifier>,
    /// Told when a token names an unknown key.
    wanted: Notify,
}

impl People {
    pub(super) fn new(config: &JwtConfig) -> Result<Self, ServeError> {
        let verifier = OnceLock::new();
        let source = match config.keys()? {
            Keys::Local(key) => {
                let _empty = verifier.set(IdentityVerifier::local(&key, &config.issuer, &config.audience));
                None
            }
            Keys::File(path) => Some(Source::File(path)),
            Keys::Url(url) => Some(Source::url(url)?),
        };
        let (name, audience) = (config.issuer.clone(), config.audience.clone());
        let issuer = Arc::new(Issuer { name, audience, source, verifier, wanted: Notify::new() });
        let default_orgs = claims::named(config.default_org.as_deref());
        Ok(Self { issuer, org_claim: config.org_claim.clone(), default_orgs })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.issuer.verifier.get().is_some()
    }

    /// The person whose token it is.
    pub(super) fn verify(&self, token: &str) -> Result<Person> {
        let Some(verifier) = self.issuer.verifier.get() else {
            return Err(Fault::Unavailable { part: "identity provider", detail: "no keys yet".to_owned() }.into());
        };
        let Identity { issuer, subject, expires_at, name: _ } = verifier.verify(token).map_err(|error| match error {
            TokenError::Expired => Refusal::TokenExpired,
            TokenError::Invalid | TokenError::Unsignable => {
                if !verifier.knows_key_of(token) {
                    self.issuer.wanted.notify_one();
                }
                Refusal::Unauthenticated { why: "the token is not valid" }
            }
        })?;
        let orgs = claims::orgs(token, &self.org_claim).unwrap_or_else(|| self.default_orgs.clone());
        Ok(Person { issuer, subject, orgs, expires_at })
    }

    /// Fetches published keys until the drain. Nothing to do for a local key.
    pub(super) fn keep_fresh(&self, lifecycle: &Lifecycle) {
        if self.issuer.source.is_none() {
            return;
        }
        let (issuer, soft) = (Arc::clone(&self.issuer), lifecycle.soft().clone());
        lifecycle.spawn("gateway-keys", async move {
            soft.run_until_cancelled(issuer.fetch_for_ever()).await;
            Ok::<(), Infallible>(())
        });
    }
}

impl Issuer {
    async fn fetch_for_ever(&self) {
        loop {
            if let Err(problem) = self.fetch().await {
                tracing::warn!(issuer = self.name, problem, "keys of the issuer not fetched, keeping the last ones");
            }
            if self.verifier.get().is_none() {
                tokio::time::sleep(FIRST).await;
                continue;
            }
            tokio::time::sleep(REFRESH_MIN).await;
            // Either the time is over or somebody wants a key: the same thing is done.
            let _wanted_or_due = tokio::time::timeout(REFRESH - REFRESH_MIN, self.wanted.notified()).await;
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let Some(source) = &self.source else { return Ok(()) };
        let document = source.read().await?;
        if let Some(verifier) = self.verifier.get() {
            return verifier.replace_jwks(&document).map_err(|_| "no usable key in it".to_owned());
        }
        let fresh =
            IdentityVerifier::published(&document, &self.name, &self.audience).map_err(|_| "no usable key in it".to_owned())?;
        let _first = self.verifier.set(fresh);
        Ok(())
    }
}
