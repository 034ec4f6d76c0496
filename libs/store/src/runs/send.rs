//! A person sends a message: who may, what the run will run, and what happens on a busy thread.

use super::accept::{Accepted, At, LockedThread, NewTurn, accept, lock_thread};
use crate::orgs::MemberRole;
use crate::tx::Tx;
use runmesh_domain::actor::Actor;
use runmesh_domain::id::{MessageId, OrgId, RunId, ThreadId, UserId};
use runmesh_domain::limits::Queues;
use runmesh_domain::message::Part;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Refusal, Result};

/// What to do when the thread is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBusy {
    /// Start after everything accepted before.
    #[default]
    Enqueue,
    /// Refuse with THREAD_BUSY.
    Reject,
}

/// A message to accept. Its parts were checked at the border.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The org.
    pub org: OrgId,
    /// The sender.
    pub user: UserId,
    /// The thread.
    pub thread: ThreadId,
    /// The content.
    pub parts: Vec<Part>,
    /// What to do when the thread is busy.
    pub on_busy: OnBusy,
    /// The mesh's model, for agents that name none.
    pub default_model: Option<String>,
    /// The W3C traceparent of the call; empty when there is none.
    pub traceparent: String,
    /// The new run's id.
    pub run: RunId,
    /// The new message's id.
    pub message: MessageId,
    /// Bounds of the queues.
    pub queues: Queues,
    /// True when [`super::claim_accepted`] follows.
    pub claim_follows: bool,
}

/// Accepts a message: READY when its thread is free, else QUEUED behind everything accepted before.
///
/// # Errors
/// [`Refusal::NotFound`] for a thread that the caller cannot see; [`Refusal::PermissionDenied`] unless the caller opened it
/// or is an admin; [`Refusal::AgentDeleted`]; [`Refusal::ModelNotConfigured`]; [`Refusal::ThreadBusy`];
/// [`Refusal::QueueLimit`].
pub async fn send(tx: &mut Tx, new: NewMessage) -> Result<Accepted> {
    let (thread, role) = lock_thread(tx, new.org, new.thread, new.user).await?;
    check_may_send(&thread, role.as_deref(), new.user)?;
    let spec = freeze(&thread, &new)?;
    let turn = NewTurn {
        run: new.run,
        message: new.message,
        user: new.user,
        actor: Actor::User(new.user),
        parts: new.parts,
        internal: false,
        at: At::Back,
        only_when_free: new.on_busy == OnBusy::Reject,
        spec,
        queues: new.queues,
        claim_follows: new.claim_follows,
    };
    accept(tx, thread, turn).await
}

fn check_may_send(thread: &LockedThread, role: Option<&str>, user: UserId) -> Result<(), Refusal> {
    match role.and_then(MemberRole::from_name) {
        None => Err(Refusal::NotFound { what: "thread" }),
        Some(MemberRole::Member) if thread.owner != user => {
            Err(Refusal::PermissionDenied { why: "only the thread's owner or an admin may send to it" })
        }
        Some(_) if thread.agent_is_deleted => Err(Refusal::AgentDeleted),
        Some(_) => Ok(()),
    }
}

fn freeze(thread: &LockedThread, new: &NewMessage) -> Result<RunSpec, Refusal> {
    let mut agent = thread.agent_spec.clone();
    if agent.model.is_empty() {
        agent.model = new.default_model.clone().filter(|model| !model.is_empty()).ok_or(Refusal::ModelNotConfigured)?;
    }
    Ok(RunSpec {
        agent_id: thread.agent,
        agent_version: thread.agent_version,
        agent,
        accepted_at: thread.now,
        traceparent: new.traceparent.clone(),
    })
}
