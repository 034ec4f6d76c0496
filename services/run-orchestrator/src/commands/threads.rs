//! Threads and their messages.

use runmesh_command::{AfterCommit, Command, Done};
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, ThreadId, UserId};
use runmesh_domain::message::Message;
use runmesh_store::threads::{self, ListThreads, NewThread, Thread};
use runmesh_store::{Page, PageRequest, Tx};

/// Creates a thread.
pub struct CreateThread {
    pub new: NewThread,
}

impl Command for CreateThread {
    type Answer = Done<Thread>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(threads::create(tx, self.new.clone()).await?))
    }
}

/// Reads a thread.
pub struct GetThread {
    pub org: OrgId,
    pub thread: ThreadId,
}

impl Command for GetThread {
    type Answer = Thread;

    async fn run(&self, tx: &mut Tx) -> Result<Thread> {
        threads::get(tx, self.org, self.thread).await
    }
}

/// Reads a page of the org's threads.
pub struct FindThreads {
    pub org: OrgId,
    pub wanted: ListThreads,
}

impl Command for FindThreads {
    type Answer = Page<Thread>;

    async fn run(&self, tx: &mut Tx) -> Result<Page<Thread>> {
        threads::list(tx, self.org, &self.wanted).await
    }
}

/// Gives a thread another title.
pub struct UpdateTitle {
    pub org: OrgId,
    pub user: UserId,
    pub thread: ThreadId,
    pub title: String,
}

impl Command for UpdateTitle {
    type Answer = Done<Thread>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(threads::update_title(tx, self.org, self.user, self.thread, &self.title).await?))
    }
}

/// Deletes a thread. Its open runs end, or are to be canceled by their holders.
pub struct DeleteThread {
    pub org: OrgId,
    pub user: UserId,
    pub thread: ThreadId,
}

impl Command for DeleteThread {
    type Answer = Done<()>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let (rows, transitions) = threads::delete(tx, self.org, self.user, self.thread).await?;
        Ok(Done::with((), AfterCommit::of(transitions).with_hints(&rows).deleted(self.org, self.thread)))
    }
}

/// Reads a page of a thread's messages.
pub struct ListMessages {
    pub org: OrgId,
    pub thread: ThreadId,
    pub page: PageRequest,
}

impl Command for ListMessages {
    type Answer = Page<Message>;

    async fn run(&self, tx: &mut Tx) -> Result<Page<Message>> {
        threads::messages(tx, self.org, self.thread, &self.page).await
    }
}
