//! Repeats of a user's call: same key and same body hear the first answer again, another body is refused.
//!
//! *Invariant R5.* The look-up comes after the caller is known and before every other check; refusals are not remembered.

use crate::auth::Caller;
use prost::Message;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::{Fault, Result, text};
use runmesh_store::{Tx, idempotency};

/// An answer that can say that it is a repeat.
pub trait Replayable: Message + Default + Clone + 'static {
    /// Marks it as a repeat.
    fn mark_replayed(&mut self);
}

macro_rules! replayable {
    ($($response:path),* $(,)?) => {$(
        impl Replayable for $response {
            fn mark_replayed(&mut self) {
                self.replayed = true;
            }
        }
    )*};
}

replayable!(
    runmesh_wire::pb::run::SendMessageResponse,
    runmesh_wire::pb::run::CancelRunResponse,
    runmesh_wire::pb::thread::CreateThreadResponse,
    runmesh_wire::pb::thread::UpdateThreadResponse,
    runmesh_wire::pb::thread::DeleteThreadResponse,
    runmesh_wire::pb::agent::CreateAgentResponse,
    runmesh_wire::pb::agent::UpdateAgentResponse,
    runmesh_wire::pb::agent::DeleteAgentResponse,
    runmesh_wire::pb::org::PutMemberResponse,
    runmesh_wire::pb::org::RemoveMemberResponse,
);

/// The key of a call: `request` must have its own key field emptied, so that the digest is that of the body.
pub fn key<R: Message>(caller: Caller, method: &'static str, key: String, request: &R) -> Result<idempotency::Key> {
    text::idempotency_key(&key)?;
    let Sha256Digest(digest) = Sha256Digest::of(&request.encode_to_vec());
    Ok(idempotency::Key { org: caller.org, user: caller.user, method, key, digest })
}

/// The first answer, when there was one.
pub async fn replay<R: Replayable>(tx: &mut Tx, key: &idempotency::Key) -> Result<Option<R>> {
    let Some(bytes) = idempotency::find(tx, key).await? else { return Ok(None) };
    let mut answer = R::decode(bytes.as_slice()).map_err(|error| Fault::internal(format!("a remembered answer: {error}")))?;
    answer.mark_replayed();
    Ok(Some(answer))
}

/// Keeps the answer for repeats.
pub async fn remember<R: Replayable>(tx: &mut Tx, key: &idempotency::Key, answer: &R) -> Result<()> {
    idempotency::remember(tx, key, &answer.encode_to_vec()).await
}
