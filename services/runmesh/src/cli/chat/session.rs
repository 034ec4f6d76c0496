//! One conversation: sends what is said and shows what comes back.

use crate::cli::context::Context;
use crate::cli::printable;
use crate::cli::send;
use crate::cli::signals::Signals;
use crate::cli::watch::keys::Keys;
use crate::cli::watch::screen::Screen;
use crate::cli::watch::{self, Watched};
use crate::failure::Failure;
use runmesh_client::{Follow, SendOptions, Start};
use runmesh_domain::id::{RunId, ThreadId};

/// A conversation under way.
pub struct Session<'a> {
    pub context: &'a Context,
    /// Known once the first message is sent.
    pub thread: Option<ThreadId>,
    /// The agent of a thread that is still to be opened.
    pub agent: String,
    pub signals: Signals,
    pub screen: Screen,
    pub interactive: bool,
}

/// How a turn came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The run ended.
    Over {
        /// True when it did what was asked.
        completed: bool,
    },
    /// The person left during it and was told how to come back.
    Left,
}

impl Session<'_> {
    /// Says who answers. Asks the mesh, so that a wrong name or an absent mesh shows before anything is typed.
    pub async fn greet(&self) -> Result<(), Failure> {
        let about = match self.thread {
            Some(thread) => {
                let title = self.context.client.get_thread(thread).await?.title;
                if title.is_empty() { thread.to_string() } else { format!("{} ({thread})", printable::line(&title)) }
            }
            None => {
                let agent = self.context.client.get_agent(&self.agent).await?;
                let model = agent.spec.map(|spec| spec.model).filter(|model| !model.is_empty());
                let model = model.map(|model| format!(" on {}", printable::line(&model))).unwrap_or_default();
                format!("agent {}{model}", agent.name)
            }
        };
        if self.interactive {
            let line = format!("{about} · Esc cancels the answer, Ctrl-C leaves it running, Ctrl-D ends");
            self.context.output.line(&self.context.style.dim(&line))?;
        }
        Ok(())
    }

    /// Shows the run that holds the thread, when one does: its person came back.
    pub async fn catch_up(&mut self) -> Result<Option<Turn>, Failure> {
        let Some(thread) = self.thread else { return Ok(None) };
        let queue = self.context.client.list_queue(thread).await?;
        let Some(run) = queue.first().and_then(|run| run.run_id.parse::<RunId>().ok()) else { return Ok(None) };
        self.show(self.context.client.follow(run, Start::Snapshot)).await.map(Some)
    }

    /// Sends `text` and shows the answer.
    pub async fn turn(&mut self, text: &str) -> Result<Turn, Failure> {
        let thread = self.open().await?;
        let sent = self.context.client.send(thread, text, SendOptions::default()).await?;
        if self.context.output.json {
            self.context.output.value(&send::as_json(thread, &sent))?;
        }
        self.show(self.context.client.follow(sent.run, Start::Cursor(sent.cursor))).await
    }

    /// The thread, opened by the first message: a chat in which nothing was said leaves nothing behind.
    async fn open(&mut self) -> Result<ThreadId, Failure> {
        if let Some(thread) = self.thread {
            return Ok(thread);
        }
        let thread = self.context.client.create_thread(&self.agent, "").await?;
        self.thread = Some(thread);
        Ok(thread)
    }

    async fn show(&mut self, mut follow: Follow) -> Result<Turn, Failure> {
        let watched = {
            // Raw mode lasts for this block only: what follows is printed on a terminal as it was.
            let keys =
                if self.interactive { Keys::of_terminal(&mut self.signals) } else { Ok(Keys::of_signals(&mut self.signals)) };
            watch::watch(self.context, &mut follow, &mut keys?, &mut self.screen).await
        };
        match watched {
            Ok(Watched::Detached) => {
                watch::say_how_to_come_back(self.context, &follow, self.thread);
                Ok(Turn::Left)
            }
            Ok(watched) => Ok(Turn::Over { completed: watched.is_completed() }),
            Err(failure) => {
                watch::say_how_to_come_back(self.context, &follow, self.thread);
                Err(failure)
            }
        }
    }

    /// Tells a person who leaves between two turns how to come back.
    pub fn say_how_to_come_back(&self) {
        if let Some(thread) = self.thread {
            eprintln!("to come back:\n  runmesh chat --thread {thread}{}", self.context.flags);
        }
    }

    /// An error after which the conversation may go on.
    pub fn complain(&self, failure: &Failure) -> Result<(), Failure> {
        let Self { context, .. } = self;
        context.output.line(&context.style.bad(&format!("error: {}", failure.message)))?;
        if let Some(hint) = &failure.hint {
            context.output.line(&context.style.dim(&format!("try: {hint}")))?;
        }
        Ok(())
    }
}
