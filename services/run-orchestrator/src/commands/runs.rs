//! Runs: accepted, read, canceled, and what their holders write.

use runmesh_command::{AfterCommit, Command, Done};
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::limits::Queues;
use runmesh_domain::log::Position;
use runmesh_domain::principal::LeaseClaim;
use runmesh_store::runs::{self, Accepted, ClaimFor, Claimed, Claims, Ending, ListRuns, NewMessage, RunRow};
use runmesh_store::steps::{self, Context, Entry, History, Recorded};
use runmesh_store::{Page, PageRequest, Tx};
use std::sync::Arc;

/// Accepts a message, and claims its run in the same transaction when a session has room and nothing else of the org waits.
pub struct AcceptMessage {
    pub new: NewMessage,
    /// A session of this replica with a slot that is reserved for the run.
    pub claim_for: Option<SessionId>,
}

impl Command for AcceptMessage {
    type Answer = Done<Accepted, Option<Claimed>>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let claim_follows = self.claim_for.is_some();
        let mut accepted = runs::send(tx, NewMessage { claim_follows, ..self.new.clone() }).await?;
        let claimed = match self.claim_for {
            Some(session) => runs::claim_accepted(tx, &accepted, session, self.new.queues).await?,
            None => None,
        };
        // The claim's transitions begin with those of the message.
        let transitions = if claimed.is_some() { Vec::new() } else { std::mem::take(&mut accepted.committed) };
        Ok(Done { answer: accepted, after: AfterCommit::of(transitions), extra: claimed })
    }
}

/// Reads a run, and what keeps it from a worker.
pub struct GetRun {
    pub org: OrgId,
    pub run: RunId,
    pub queues: Queues,
}

impl Command for GetRun {
    type Answer = RunRow;

    async fn run(&self, tx: &mut Tx) -> Result<RunRow> {
        let mut row = runs::get(tx, self.org, self.run).await?;
        runs::see_blocked(tx, std::slice::from_mut(&mut row), &self.queues).await?;
        Ok(row)
    }
}

/// Reads a page of the org's runs.
pub struct FindRuns {
    pub org: OrgId,
    pub wanted: ListRuns,
    pub queues: Queues,
}

impl Command for FindRuns {
    type Answer = Page<RunRow>;

    async fn run(&self, tx: &mut Tx) -> Result<Page<RunRow>> {
        let mut page = runs::list(tx, self.org, &self.wanted).await?;
        runs::see_blocked(tx, &mut page.items, &self.queues).await?;
        Ok(page)
    }
}

/// Reads the open runs of a thread in their order.
pub struct ListQueue {
    pub org: OrgId,
    pub thread: ThreadId,
    pub queues: Queues,
}

impl Command for ListQueue {
    type Answer = Vec<RunRow>;

    async fn run(&self, tx: &mut Tx) -> Result<Vec<RunRow>> {
        let mut rows = runs::queue(tx, self.org, self.thread).await?;
        runs::see_blocked(tx, &mut rows, &self.queues).await?;
        Ok(rows)
    }
}

/// Reads a page of what became of a run.
pub struct GetHistory {
    pub org: OrgId,
    pub run: RunId,
    pub page: PageRequest,
    pub include_steps: bool,
    pub queues: Queues,
}

impl Command for GetHistory {
    type Answer = History;

    async fn run(&self, tx: &mut Tx) -> Result<History> {
        let mut history = steps::history(tx, self.org, self.run, &self.page, self.include_steps).await?;
        runs::see_blocked(tx, std::slice::from_mut(&mut history.run), &self.queues).await?;
        Ok(history)
    }
}

/// Cancels a run, or asks its holder to.
pub struct CancelRun {
    pub org: OrgId,
    pub user: UserId,
    pub run: RunId,
}

impl Command for CancelRun {
    type Answer = Done<RunRow>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let (row, transitions) = runs::cancel(tx, self.org, self.user, self.run).await?;
        let after = AfterCommit::of(transitions).with_hints([&row]);
        Ok(Done::with(row, after))
    }
}

/// Claims READY runs for worker sessions.
pub struct ClaimRuns {
    pub claim: ClaimFor,
}

impl Command for ClaimRuns {
    type Answer = Claims;

    async fn run(&self, tx: &mut Tx) -> Result<Claims> {
        runs::claim(tx, &self.claim).await
    }
}

/// Reads a page of what the holder of a run needs to go on.
pub struct GetContext {
    pub lease: LeaseClaim,
    pub page_token: String,
    /// How much of the thread the holder still wants.
    pub wanted_bytes: u64,
}

impl Command for GetContext {
    type Answer = Context;

    async fn run(&self, tx: &mut Tx) -> Result<Context> {
        steps::context(tx, self.lease, &self.page_token, self.wanted_bytes).await
    }
}

/// Journals what the holder of a run did.
pub struct RecordEntries {
    pub lease: LeaseClaim,
    pub entries: Arc<Vec<Entry>>,
    pub position: Option<Position>,
}

impl Command for RecordEntries {
    type Answer = Done<Recorded>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(steps::record(tx, self.lease, self.entries.as_ref().clone(), self.position).await?))
    }
}

/// Keeps results that came too late for the journal, as evidence for a person who is asked about the call.
pub struct KeepLate {
    pub lease: LeaseClaim,
    pub entries: Arc<Vec<Entry>>,
}

impl Command for KeepLate {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        steps::keep_late(tx, self.lease, &self.entries).await
    }
}

/// Ends a run as its holder says.
pub struct FinishRun {
    pub lease: LeaseClaim,
    pub ending: Ending,
}

impl Command for FinishRun {
    type Answer = Done<RunRow>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let (row, transitions) = runs::finish(tx, self.lease, self.ending.clone()).await?;
        Ok(Done::with(row, AfterCommit::of(transitions)))
    }
}

/// Gives a run back for another worker.
pub struct ReleaseRun {
    pub lease: LeaseClaim,
    pub position: Option<Position>,
    pub queues: Queues,
}

impl Command for ReleaseRun {
    type Answer = Done<RunRow>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let (mut row, transitions) = runs::release(tx, self.lease, self.position).await?;
        runs::see_blocked(tx, std::slice::from_mut(&mut row), &self.queues).await?;
        Ok(Done::with(row, AfterCommit::of(transitions)))
    }
}

/// Gives a run back that reached no worker.
pub struct ReturnRun {
    pub lease: LeaseClaim,
}

impl Command for ReturnRun {
    type Answer = AfterCommit;

    async fn run(&self, tx: &mut Tx) -> Result<AfterCommit> {
        let (_, transitions) = runs::release(tx, self.lease, None).await?;
        Ok(AfterCommit::of(transitions))
    }
}
