//! Repeats of a user's call: same key and same body hear the first answer again, another body is refused.
//!
//! *Invariant R5.* The look-up comes after the caller is known and before every other check, those of the fields included;
//! refusals are not remembered.

use crate::auth::Caller;
use crate::settle::Try;
use prost::Message;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Fault, Refusal, Result, text};
use runmesh_store::{Scope, Tx, idempotency};
use runmesh_wire::pb;
use uuid::Uuid;

/// The org under which the keys of calls stand that concern no org. No org has it: their ids follow from names.
const NO_ORG: OrgId = OrgId::from_uuid(Uuid::nil());

/// Who makes a mutating call: whose rows it touches, among whose keys its own is looked up, and who is let that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A member of the org.
    Member(Caller),
    /// Whoever acts in the org. For a command that takes the caller's membership away: its repeat must be answered all the same,
    /// and only who was let do it has an answer there. The command itself checks everybody else.
    FormerMember(Caller),
    /// A person outside of every org, whom the settings allow the call.
    Person(UserId),
}

impl By {
    /// Whose rows.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Member(caller) | Self::FormerMember(caller) => Scope::Org(caller.org),
            Self::Person(_) => Scope::System,
        }
    }

    /// The org whose runs it may change.
    pub const fn org(self) -> Option<OrgId> {
        match self {
            Self::Member(caller) | Self::FormerMember(caller) => Some(caller.org),
            Self::Person(_) => None,
        }
    }

    /// Whether somebody who is no member of the org is let that far.
    const fn may_look(self, is_member: bool) -> bool {
        match self {
            Self::Member(_) => is_member,
            Self::FormerMember(_) | Self::Person(_) => true,
        }
    }

    const fn owner(self) -> (OrgId, UserId) {
        match self {
            Self::Member(caller) | Self::FormerMember(caller) => (caller.org, caller.user),
            Self::Person(user) => (NO_ORG, user),
        }
    }
}

/// A request with an idempotency key.
pub trait Mutation: Message + 'static {
    /// The method's own name, under which its keys stand.
    const METHOD: &'static str;
    /// What it is answered with.
    type Answer: Replayable;
    /// Takes the key out; what is left is the body.
    fn take_key(&mut self) -> String;
}

/// An answer that can say that it is a repeat.
pub trait Replayable: Message + Default + Clone + 'static {
    /// Marks it as a repeat.
    fn mark_replayed(&mut self);
}

macro_rules! mutations {
    ($($method:literal: $request:path => $answer:path;)*) => {$(
        impl Mutation for $request {
            const METHOD: &'static str = $method;
            type Answer = $answer;

            fn take_key(&mut self) -> String {
                std::mem::take(&mut self.idempotency_key)
            }
        }

        impl Replayable for $answer {
            fn mark_replayed(&mut self) {
                self.replayed = true;
            }
        }
    )*};
}

mutations! {
    "SendMessage": pb::run::SendMessageRequest => pb::run::SendMessageResponse;
    "CancelRun": pb::run::CancelRunRequest => pb::run::CancelRunResponse;
    "CreateThread": pb::thread::CreateThreadRequest => pb::thread::CreateThreadResponse;
    "UpdateThread": pb::thread::UpdateThreadRequest => pb::thread::UpdateThreadResponse;
    "DeleteThread": pb::thread::DeleteThreadRequest => pb::thread::DeleteThreadResponse;
    "CreateAgent": pb::agent::CreateAgentRequest => pb::agent::CreateAgentResponse;
    "UpdateAgent": pb::agent::UpdateAgentRequest => pb::agent::UpdateAgentResponse;
    "DeleteAgent": pb::agent::DeleteAgentRequest => pb::agent::DeleteAgentResponse;
    "CreateOrg": pb::org::CreateOrgRequest => pb::org::CreateOrgResponse;
    "UpdateOrg": pb::org::UpdateOrgRequest => pb::org::UpdateOrgResponse;
    "DeleteOrg": pb::org::DeleteOrgRequest => pb::org::DeleteOrgResponse;
    "PutMember": pb::org::PutMemberRequest => pb::org::PutMemberResponse;
    "RemoveMember": pb::org::RemoveMemberRequest => pb::org::RemoveMemberResponse;
}

/// The key of a call, taken out of its request and checked. The digest is that of the rest.
pub fn key<Q: Mutation>(by: By, request: &mut Q) -> Result<idempotency::Key> {
    let key = request.take_key();
    text::idempotency_key(&key)?;
    let Sha256Digest(digest) = Sha256Digest::of(&request.encode_to_vec());
    let (org, user) = by.owner();
    Ok(idempotency::Key { org, user, method: Q::METHOD, key, digest })
}

/// The first answer, when there was one: marked as a repeat, unless it is read back because nobody learned of it. Who may not even have a key looked up is refused: to them there is no such org.
pub async fn replay<R: Replayable>(tx: &mut Tx, by: By, key: &idempotency::Key, this: Try) -> Result<Option<R>> {
    let before = idempotency::look(tx, key).await?;
    if !by.may_look(before.is_member) {
        return Err(Refusal::NotFound { what: "org" }.into());
    }
    let Some(bytes) = before.answer(key)? else { return Ok(None) };
    let mut answer = R::decode(bytes.as_slice()).map_err(|error| Fault::internal(format!("a remembered answer: {error}")))?;
    if this == Try::First {
        answer.mark_replayed();
    }
    Ok(Some(answer))
}

/// Whether another call with the same key, under way at the same time, may be what a call is refused for. What is wrong with a
/// call itself is wrong with its twin.
pub const fn may_be_a_twins(refusal: &Refusal) -> bool {
    !matches!(refusal, Refusal::InvalidField { .. } | Refusal::PermissionDenied { .. } | Refusal::IdempotencyKeyReused)
}

/// Keeps the answer for repeats.
pub async fn remember<R: Replayable>(tx: &mut Tx, key: &idempotency::Key, answer: &R) -> Result<()> {
    idempotency::remember(tx, key, &answer.encode_to_vec()).await
}
