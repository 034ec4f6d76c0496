//! Runs commands: each in one transaction, and then what follows its commit.

use crate::effects::Done;
use crate::idempotent::{Idempotent, ReadBack, Replayable, may_be_of_concurrent_duplicate};
use crate::members::MemberOnly;
use crate::publisher::Publisher;
use runmesh_domain::id::OrgId;
use runmesh_domain::{Error, Fault, Refusal, Result};
use runmesh_store::{Command, Db, Scope};
use runmesh_wire::caller::Caller;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Runs the commands of a service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Commands {
    db: Db,
    publisher: Publisher,
    tasks: TaskTracker,
}

impl Commands {
    /// Over a database. `tasks` counts the commands under way: a service that drains closes it and waits for it.
    #[must_use]
    pub const fn new(db: Db, publisher: Publisher, tasks: TaskTracker) -> Self {
        Self { db, publisher, tasks }
    }

    /// A user's reading call: one transaction in the caller's org, of which the caller must be a member, on the connections kept
    /// for reads.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for somebody who is not a member of the org, and what the command answers.
    pub async fn read<C: Command>(&self, caller: Caller, command: C) -> Result<C::Answer> {
        read(&self.db, caller, command).await
    }

    /// A user's mutating call. It is done to its end even when the caller goes away.
    ///
    /// # Errors
    /// As [`Commands::mutate_attached`].
    pub async fn mutate<C, T, R>(&self, call: Idempotent<C, T, R>) -> Result<R>
    where
        C: Command<Answer = Done<T>>,
        T: Send + 'static,
        R: Replayable,
    {
        let commands = self.clone();
        self.spawn_detached(async move { commands.mutate_attached(call).await.map(|(answer, ())| answer) }).await
    }

    /// A user's mutating call, in the caller's own task: the transaction, and what follows its commit. Gives what the service
    /// itself is to do, too. To be called within [`Commands::spawn_detached`].
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for somebody who may not call, [`Refusal::IdempotencyKeyReused`] for a key that another body was
    /// sent with, and what the command answers.
    pub async fn mutate_attached<C, T, X, R>(&self, call: Idempotent<C, T, R>) -> Result<(R, X)>
    where
        C: Command<Answer = Done<T, X>>,
        T: Send + 'static,
        X: Default + Send + 'static,
        R: Replayable,
    {
        let (by, first_answer, call) = (call.by(), call.first_answer(), Arc::new(call));
        let done = match self.settle(by.scope(), by.org(), Arc::clone(&call), ReadBack(call)).await {
            Err(Error::Refused(refusal)) if may_be_of_concurrent_duplicate(&refusal) => {
                let answer = self.db.run(by.scope(), first_answer).await;
                Done::quiet(answer_of_concurrent_duplicate(answer, refusal)?)
            }
            done => done?,
        };
        self.publisher.publish(done.after);
        Ok((done.answer, done.extra))
    }

    /// A mutating call whose exact repeat the command itself answers as the first, such as those of lease holders, over all orgs;
    /// `org` is the one whose runs it may change. It is done to its end even when the caller goes away.
    ///
    /// # Errors
    /// What the command answers.
    pub async fn perform<C, T>(&self, org: OrgId, command: C) -> Result<T>
    where
        C: Command<Answer = Done<T>>,
        T: Send + 'static,
    {
        let commands = self.clone();
        self.spawn_detached(async move { commands.perform_attached(org, command).await }).await
    }

    /// As [`Commands::perform`], in the caller's own task. To be called within [`Commands::spawn_detached`].
    ///
    /// # Errors
    /// What the command answers.
    pub async fn perform_attached<C, T>(&self, org: OrgId, command: C) -> Result<T>
    where
        C: Command<Answer = Done<T>>,
        T: Send + 'static,
    {
        let command = Arc::new(command);
        let done = self.settle(Scope::System, Some(org), Arc::clone(&command), command).await?;
        self.publisher.publish(done.after);
        Ok(done.answer)
    }

    /// Runs `work` to its end even when the caller goes away: a client that disconnects must not leave a command half done.
    ///
    /// # Errors
    /// What `work` answers; [`Fault::Internal`] when it panicked.
    pub async fn spawn_detached<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let task = self.tasks.spawn(tracing::Instrument::in_current_span(work));
        task.await.unwrap_or_else(|error| Err(Fault::internal(format!("a command panicked: {error}")).into()))
    }

    /// Runs a command, and `again` when a COMMIT was not answered: whether it was done only the database knows. `again` finds
    /// what the first transaction did, or does it. It is run once: a server that is gone is gone the second time, too.
    ///
    /// Nobody published what the first transaction committed. The sweeper does; runs that it made READY are looked for here.
    async fn settle<C, D>(&self, scope: Scope, org: Option<OrgId>, command: C, again: D) -> Result<C::Answer>
    where
        C: Command,
        D: Command<Answer = C::Answer>,
    {
        let unknown = match self.db.run(scope, command).await {
            Err(error @ Error::Fault(Fault::OutcomeUnknown { .. })) => error,
            known => return known,
        };
        tracing::warn!(error = %unknown, "a commit was not answered, reading back what it did");
        let answer = self.db.run(scope, again).await;
        self.publisher.wake(org);
        match answer {
            // What became of the first transaction is still not known: the error must not say that nothing was done.
            Err(Error::Fault(_)) => Err(unknown),
            answer => answer,
        }
    }
}

/// A user's reading call, as [`Commands::read`], for services that change nothing.
///
/// # Errors
/// As [`Commands::read`].
pub async fn read<C: Command>(db: &Db, caller: Caller, command: C) -> Result<C::Answer> {
    db.run_read(Scope::Org(caller.org), MemberOnly { caller, command }).await
}

/// The answer that a concurrent call with the same key got after this call looked for it; when there is none, the call was
/// refused for its own sake.
fn answer_of_concurrent_duplicate<R>(answer: Result<Option<R>>, refusal: Refusal) -> Result<R> {
    answer?.ok_or_else(|| refusal.into())
}
