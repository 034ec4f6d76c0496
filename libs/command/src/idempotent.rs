//! Repeats of a user's call: the same key and the same body get the first answer again, another body is refused.
//!
//! *Invariant R5.* The look-up comes after the caller is known and before every other check, those of the fields included;
//! refusals are not remembered.

mod methods;

pub use methods::{Mutation, Replayable};

use crate::effects::Done;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Fault, Refusal, Result, text};
use runmesh_store::{Command, Scope, Tx, idempotency};
use runmesh_wire::caller::Caller;
use runmesh_wire::received::Received;
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

/// The org under which the keys of calls are kept that concern no org. No org has it: their ids follow from names.
const NO_ORG: OrgId = OrgId::from_uuid(Uuid::nil());

/// The number of `idempotency_key` in every request that has one.
const KEY_FIELD: u32 = 1;

/// Who makes a mutating call: whose rows it touches, among whose keys its own is looked up, and who may look there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A member of the org. To everybody else there is no such org.
    Member(Caller),
    /// Anybody who acts in the org. For a command that takes the caller's membership away: its repeat must be answered all the
    /// same, and only somebody who was permitted the command has an answer there. The command itself checks everybody else.
    FormerMember(Caller),
    /// A person outside of every org, whom the settings permit the call.
    Person(UserId),
}

impl By {
    /// The rows that the call may touch.
    pub(crate) const fn scope(self) -> Scope {
        match self {
            Self::Member(caller) | Self::FormerMember(caller) => Scope::Org(caller.org),
            Self::Person(_) => Scope::System,
        }
    }

    /// The org whose runs the call may change.
    pub(crate) const fn org(self) -> Option<OrgId> {
        match self {
            Self::Member(caller) | Self::FormerMember(caller) => Some(caller.org),
            Self::Person(_) => None,
        }
    }

    /// Whether the caller may have a key looked up.
    const fn may_look(self, is_member: bool) -> bool {
        match self {
            Self::Member(_) => is_member,
            Self::FormerMember(_) | Self::Person(_) => true,
        }
    }

    /// The org and the user under whom the call's key is kept.
    const fn owner(self) -> (OrgId, UserId) {
        match self {
            Self::Member(caller) | Self::FormerMember(caller) => (caller.org, caller.user),
            Self::Person(user) => (NO_ORG, user),
        }
    }
}

/// A command that is done once however often it is called with one key. `T` is what the command inside answers, `R` the message
/// that answers the call and is kept for its repeats.
pub struct Idempotent<C, T, R> {
    by: By,
    key: Arc<idempotency::Key>,
    /// What is wrong with the fields is answered only after the look-up: a repeat gets its first answer, and somebody who is not
    /// a member learns that there is no such org instead of what is wrong with the fields.
    command: Result<C>,
    encode: fn(T) -> R,
}

impl<C, T, R> Idempotent<C, T, R> {
    /// A call of `request`. `decode` makes the command of the request, `encode` the response of the command's answer.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`] for a key that is missing or malformed. What `decode` refuses is answered by the command.
    pub fn new<Q>(by: By, mut request: Q, decode: impl FnOnce(Q) -> Result<C>, encode: fn(T) -> R) -> Result<Self>
    where
        Q: Mutation<Answer = R>,
    {
        let key = Arc::new(key_of(by, &mut request)?);
        Ok(Self { by, key, command: decode(request), encode })
    }

    /// Whose call it is.
    pub(crate) const fn by(&self) -> By {
        self.by
    }

    /// The look-up alone.
    pub(crate) fn first_answer(&self) -> FirstAnswer<R> {
        FirstAnswer { by: self.by, key: Arc::clone(&self.key), answer: PhantomData }
    }

    async fn run_once<X>(&self, tx: &mut Tx, first: First) -> Result<Done<R, X>>
    where
        C: Command<Answer = Done<T, X>>,
        T: Send + 'static,
        X: Default + Send + 'static,
        R: Replayable,
    {
        if let Some(answer) = first_answer(tx, self.by, &self.key, first).await? {
            return Ok(Done::quiet(answer));
        }
        let command = self.command.as_ref().map_err(Clone::clone)?;
        let Done { answer, after, extra } = command.run(tx).await?;
        let answer = (self.encode)(answer);
        idempotency::remember(tx, &self.key, &answer.encode_to_vec()).await?;
        Ok(Done { answer, after, extra })
    }
}

/// Whose the first answer is, where one is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// An earlier call's: the answer says that it is a repeat.
    Earlier,
    /// This call's own, of a transaction of which nobody learned that it had committed.
    Own,
}

impl<C, T, X, R> Command for Idempotent<C, T, R>
where
    C: Command<Answer = Done<T, X>>,
    T: Send + 'static,
    X: Default + Send + 'static,
    R: Replayable,
{
    type Answer = Done<R, X>;

    fn name() -> &'static str {
        C::name()
    }

    async fn run(&self, tx: &mut Tx) -> Result<Done<R, X>> {
        self.run_once(tx, First::Earlier).await
    }
}

/// The same call again, after a COMMIT that was not answered: it finds what the first transaction did, or does it.
pub(crate) struct ReadBack<C, T, R>(pub(crate) Arc<Idempotent<C, T, R>>);

impl<C, T, X, R> Command for ReadBack<C, T, R>
where
    C: Command<Answer = Done<T, X>>,
    T: Send + 'static,
    X: Default + Send + 'static,
    R: Replayable,
{
    type Answer = Done<R, X>;

    fn name() -> &'static str {
        C::name()
    }

    async fn run(&self, tx: &mut Tx) -> Result<Done<R, X>> {
        self.0.run_once(tx, First::Own).await
    }
}

/// Looks for the answer that an earlier call with this key got.
pub(crate) struct FirstAnswer<R> {
    by: By,
    key: Arc<idempotency::Key>,
    answer: PhantomData<fn() -> R>,
}

impl<R: Replayable> Command for FirstAnswer<R> {
    type Answer = Option<R>;

    async fn run(&self, tx: &mut Tx) -> Result<Option<R>> {
        first_answer(tx, self.by, &self.key, First::Earlier).await
    }
}

/// Whether a concurrent call with the same key may be why a call was refused: it took the name, or it holds the thread. What is
/// wrong with the call itself is wrong with the other one too.
pub(crate) const fn may_be_of_concurrent_duplicate(refusal: &Refusal) -> bool {
    !matches!(refusal, Refusal::InvalidField { .. } | Refusal::PermissionDenied { .. } | Refusal::IdempotencyKeyReused)
}

/// The key of a call, taken out of its request and checked. The digest is that of the rest as it was received.
fn key_of<Q: Mutation>(by: By, request: &mut Q) -> Result<idempotency::Key> {
    let key = request.take_key();
    text::idempotency_key(&key)?;
    let received = Received::of_this_call().unwrap_or_else(|| Received::encoded(request));
    let Sha256Digest(digest) = received.digest_without(&[KEY_FIELD]);
    let (org, user) = by.owner();
    Ok(idempotency::Key { org, user, method: Q::METHOD, key, digest })
}

async fn first_answer<R: Replayable>(tx: &mut Tx, by: By, key: &idempotency::Key, first: First) -> Result<Option<R>> {
    let before = idempotency::look(tx, key).await?;
    if !by.may_look(before.is_member) {
        return Err(Refusal::NotFound { what: "org" }.into());
    }
    let Some(bytes) = before.answer(key)? else { return Ok(None) };
    let unreadable = |error| Fault::internal(format!("the stored answer of {} cannot be decoded: {error}", key.method));
    let mut answer = R::decode(bytes.as_slice()).map_err(unreadable)?;
    if first == First::Earlier {
        answer.mark_replayed();
    }
    Ok(Some(answer))
}
