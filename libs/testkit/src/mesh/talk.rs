//! What tests say to a mesh.

use super::{Mesh, Service};
use crate::seen::{Seen, Viewer};
use crate::until;
use runmesh_client::{Client, SendOptions, Sent, Start, pb};
use runmesh_domain::id::{RunId, ThreadId};
use std::time::Duration;

/// A run, as a test holds it.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its thread.
    pub thread: ThreadId,
    /// Its id.
    pub id: RunId,
    /// A cursor before its first event.
    pub cursor: String,
}

/// How long a test waits for a run at most.
const RUN_DEADLINE: Duration = Duration::from_secs(60);

impl Mesh {
    /// A new thread with the default agent.
    pub async fn thread(&self) -> ThreadId {
        self.client(0).create_thread("default", "").await.expect("a thread")
    }

    /// Sends a message on a new thread, through the first gateway.
    pub async fn send(&self, text: &str) -> Run {
        let thread = self.thread().await;
        self.send_on(thread, text).await
    }

    /// Sends a message on a thread, through the first gateway.
    pub async fn send_on(&self, thread: ThreadId, text: &str) -> Run {
        let sent = self.client(0).send(thread, text, SendOptions::default()).await.expect("an accepted message");
        let Sent { run, cursor, .. } = sent;
        Run { thread, id: run, cursor }
    }

    /// The run as the API shows it.
    pub async fn run(&self, run: &Run) -> pb::run::Run {
        self.client(0).get_run(run.id).await.expect("the run")
    }

    /// The run's transitions and steps.
    pub async fn history(&self, run: &Run) -> pb::run::GetRunHistoryResponse {
        self.client(0).history(run.id, true).await.expect("the history")
    }

    /// Everything that a viewer from the run's first event on is told.
    pub async fn attach(&self, gateway: usize, run: &Run) -> Seen {
        self.attach_from(gateway, run, Start::Cursor(run.cursor.clone())).await
    }

    /// Everything that a viewer from `start` on is told.
    pub async fn attach_from(&self, gateway: usize, run: &Run, start: Start) -> Seen {
        Viewer::new(&self.client(gateway), run, start).to_end().await
    }

    /// The orchestrator whose worker drives the run, once one does.
    pub async fn owner_of(&self, run: &Run) -> Service {
        let client = self.client(0);
        until("a worker drives the run", RUN_DEADLINE, || owner(client.clone(), run.id)).await
    }

    /// A viewer of the run from its first event on, once text is flowing.
    pub async fn watch(&self, gateway: usize, run: &Run) -> Viewer {
        Viewer::of_text(&self.client(gateway), run).await
    }

    /// Waits until the run is over.
    pub async fn ended(&self, run: &Run) -> pb::run::Run {
        let client = self.client(0);
        until("the run is over", RUN_DEADLINE, || {
            let client = client.clone();
            async move { client.get_run(run.id).await.ok().filter(|run| run.end_time.is_some()) }
        })
        .await
    }
}

async fn owner(client: Client, run: RunId) -> Option<Service> {
    let session = client.get_run(run).await.ok()?.session_id;
    let workers = client.list_workers(1_000).await.ok()?;
    let worker = workers.into_iter().find(|worker| worker.session_id == session)?;
    Some(Service::Orchestrator(worker.worker.strip_prefix("worker-")?.parse().ok()?))
}
