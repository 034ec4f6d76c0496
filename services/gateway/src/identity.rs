//! Who calls: checks the credentials that a method wants and makes the signed principal that services behind trust. Knows nothing
//! of what the caller may do; services decide that.

mod cache;
mod claims;
mod keys;
mod org;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};
use runmesh_domain::{Fault, Refusal, Result};
use runmesh_host::Lifecycle;
use runmesh_host::signed::{Signer, TokenError, Verified, Verifier};
use runmesh_wire::header;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use cache::Cache;
use keys::People;
use org::Orgs;

use crate::config::GatewayConfig;
use crate::methods::{Caller, Class};
use crate::serve::ServeError;

/// How long the principal of a short call is good: services check it when the call arrives.
const HOP_TTL: Duration = Duration::from_secs(60);
/// How long the principal of a stream is good when its caller showed nothing that ends.
const ENDLESS_TTL: Duration = Duration::from_secs(12 * 3_600);
/// How long after its caller's credentials a stream is ended here; by then the service should have, with a cursor.
const STREAM_LEEWAY: Duration = Duration::from_secs(5);

/// The issuer and subject of the person who calls without credentials in development, and the org unless another one is asked for.
const DEV_ISSUER: &str = "dev";
const DEV_SUBJECT: &str = "you";
const DEV_ORG: &str = "dev";

/// What a caller showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials<'a> {
    /// What the method wants.
    pub(crate) caller: Caller,
    pub(crate) bearer: Option<&'a str>,
    /// The org asked for, by id or name.
    pub(crate) org: Option<&'a str>,
    /// The caller is on this very machine.
    pub(crate) is_local: bool,
}

/// Who it is.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) principal: Principal,
    /// When the credentials end, seconds of Unix time.
    expires_at: Option<u64>,
    /// The signed principal of short calls.
    hop: HeaderValue,
}

/// What goes on with a call.
pub(crate) struct Pass {
    /// The signed principal.
    pub(crate) hop: HeaderValue,
    /// When a stream has to end.
    pub(crate) ends: Option<Instant>,
}

/// What a person's credentials say.
struct Shown {
    user: UserId,
    orgs: Orgs,
    /// Seconds of Unix time; nothing for credentials that do not end.
    expires_at: Option<u64>,
}

/// Everything that can tell who calls.
pub(crate) struct Identities {
    is_dev: bool,
    people: Option<People>,
    workers: Verifier,
    leases: Verifier,
    signer: Signer,
    cache: Cache,
}

impl Identities {
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, ServeError> {
        if !config.dev && config.jwt.is_none() {
            return Err(ServeError::Config("neither jwt nor dev is set, so nobody could call".to_owned()));
        }
        let key = config.key()?;
        Ok(Self {
            is_dev: config.dev,
            people: config.jwt.as_ref().map(People::new).transpose()?,
            workers: Verifier::new(&key, header::WORKER_TYPE, header::AUDIENCE),
            leases: Verifier::new(&key, header::RUN_TYPE, header::AUDIENCE),
            signer: Signer::new(&key, header::HOP_TYPE, header::AUDIENCE),
            cache: Cache::default(),
        })
    }

    /// Whether callers can be told apart: not before the issuer's keys are known.
    pub(crate) fn is_ready(&self) -> bool {
        self.people.as_ref().is_none_or(People::is_ready)
    }

    /// Fetches the issuer's keys now and then, until the drain.
    pub(crate) fn keep_keys_fresh(&self, lifecycle: &Lifecycle) {
        if let Some(people) = &self.people {
            people.keep_fresh(lifecycle);
        }
    }

    /// Who `given` is.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED, TOKEN_EXPIRED, PERMISSION_DENIED, INVALID_FIELD; UNAVAILABLE while the issuer's keys are not known.
    pub(crate) fn establish(&self, given: &Credentials<'_>) -> Result<Arc<Established>> {
        if given.bearer.is_none() && !(self.is_dev && given.is_local && given.caller.is_person()) {
            return Err(Refusal::Unauthenticated { why: wanted(given.caller) }.into());
        }
        let key = cache::key(given);
        if let Some(known) = self.cache.get(&key, Instant::now()) {
            return Ok(known);
        }
        let (principal, expires_at) = self.verify(given)?;
        let hop = self.sign(&principal, HOP_TTL)?;
        let established = Arc::new(Established { principal, expires_at, hop });
        let left = expires_at.map(left_until);
        self.cache.put(key, Arc::clone(&established), Instant::now(), left);
        Ok(established)
    }

    /// What a call of `who` goes on with.
    pub(crate) fn pass(&self, who: &Established, class: Class) -> Result<Pass> {
        match class {
            Class::Short => Ok(Pass { hop: who.hop.clone(), ends: None }),
            Class::Follow => {
                let left = who.expires_at.map(left_until);
                let hop = self.sign(&who.principal, left.unwrap_or(ENDLESS_TTL).clamp(Duration::from_secs(1), ENDLESS_TTL))?;
                Ok(Pass { hop, ends: left.and_then(|left| Instant::now().checked_add(left + STREAM_LEEWAY)) })
            }
        }
    }

    fn verify(&self, given: &Credentials<'_>) -> Result<(Principal, Option<u64>)> {
        match (given.caller, given.bearer) {
            (Caller::User, token) => {
                let Shown { user, orgs, expires_at } = self.person(token)?;
                Ok((Principal::User { org: org::choose(&orgs, given.org)?, user }, expires_at))
            }
            (Caller::Person, token) => {
                let Shown { user, orgs, expires_at } = self.person(token)?;
                Ok((Principal::Person { user, orgs: orgs.only() }, expires_at))
            }
            (Caller::Worker, token) => {
                let Verified { claims, expires_at } = signed::<WorkerCredential>(&self.workers, token, given.caller)?;
                claims.check_elsewhere()?;
                Ok((Principal::Worker(claims), Some(expires_at)))
            }
            (Caller::Lease, token) => {
                let Verified { claims, expires_at } = signed::<LeaseClaim>(&self.leases, token, given.caller)?;
                Ok((Principal::Lease(claims), Some(expires_at)))
            }
        }
    }

    /// The person whose token it is; without one, whoever develops on this machine.
    fn person(&self, token: Option<&str>) -> Result<Shown> {
        let Some(token) = token else {
            let orgs = Orgs::Every { unless_asked: Some(OrgId::of_name(DEV_ORG)) };
            return Ok(Shown { user: UserId::of_subject(DEV_ISSUER, DEV_SUBJECT), orgs, expires_at: None });
        };
        let people = self.people.as_ref().ok_or(Refusal::Unauthenticated { why: "tokens of people are not accepted here" })?;
        let person = people.verify(token)?;
        let user = UserId::of_subject(&person.issuer, &person.subject);
        Ok(Shown { user, orgs: person.orgs, expires_at: Some(person.expires_at) })
    }

    fn sign(&self, principal: &Principal, ttl: Duration) -> Result<HeaderValue> {
        let signed = self.signer.sign(principal, ttl).map_err(|error| Fault::internal(error.to_string()))?;
        let mut value = HeaderValue::try_from(signed).map_err(|_| Fault::internal("a signed principal is no header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Claims of a token that the mesh itself signed.
fn signed<T: DeserializeOwned>(verifier: &Verifier, token: Option<&str>, caller: Caller) -> Result<Verified<T>, Refusal> {
    let refused = || Refusal::Unauthenticated { why: wanted(caller) };
    verifier.verify(token.ok_or_else(refused)?).map_err(|error| match error {
        TokenError::Expired => Refusal::TokenExpired,
        TokenError::Invalid | TokenError::Unsignable => refused(),
    })
}

/// What a method wants to see.
const fn wanted(caller: Caller) -> &'static str {
    match caller {
        Caller::User | Caller::Person => "this method wants the token of a person",
        Caller::Worker => "this method wants the credential of a worker",
        Caller::Lease => "this method wants the run token of an assignment",
    }
}

/// What is left until `expires_at`, seconds of Unix time.
fn left_until(expires_at: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(expires_at).saturating_sub(now)
}
