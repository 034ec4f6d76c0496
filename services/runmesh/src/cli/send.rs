//! `runmesh send`: one message.

use super::attach;
use super::context::Context;
use super::done::Done;
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use runmesh_client::{OnBusy, SendOptions, Sent, Start};
use runmesh_domain::id::ThreadId;
use runmesh_domain::limits;
use std::io::Read as _;

/// Options of `runmesh send`.
#[derive(Debug, Clone, Args)]
pub struct Send {
    /// The message; `-` reads it from standard input.
    #[arg(required = true, num_args = 1..)]
    text: Vec<String>,
    /// The thread; a new one when absent.
    #[arg(long)]
    thread: Option<ThreadId>,
    /// The agent of a new thread, by name or id.
    #[arg(long, default_value = "default", conflicts_with = "thread")]
    agent: String,
    /// Follow the run to its end; exits 0 when it completes.
    #[arg(long)]
    wait: bool,
    /// What the message does to a busy thread.
    #[arg(long, value_enum, default_value_t = Busy::Enqueue)]
    on_busy: Busy,
    /// Makes a repeat of this very command harmless; needs --thread.
    #[arg(long, requires = "thread")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Busy {
    /// It waits its turn.
    Enqueue,
    /// It is refused.
    Reject,
}

impl Send {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let text = message(&self.text)?;
        let thread = match self.thread {
            Some(thread) => thread,
            None => context.client.create_thread(&self.agent, "").await?,
        };
        let on_busy = match self.on_busy {
            Busy::Enqueue => OnBusy::Enqueue,
            Busy::Reject => OnBusy::Reject,
        };
        let options = SendOptions { on_busy, idempotency_key: self.idempotency_key };
        let sent = context.client.send(thread, text, options).await?;
        if context.output.json {
            context.output.value(&as_json(thread, &sent))?;
        } else {
            say(context, thread, &sent, self.wait)?;
        }
        if !self.wait {
            return Ok(Done::Well);
        }
        let follow = context.client.follow(sent.run, Start::Cursor(sent.cursor));
        attach::follow(context, follow, Some(thread)).await
    }
}

fn message(words: &[String]) -> Result<String, Failure> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    let mut text = String::new();
    // One byte more than is allowed, so that the mesh refuses what is too long instead of this cutting it.
    let most = limits::MESSAGE_TEXT_BYTES_MAX as u64 + 1;
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.map_err(|error| Failure::refused(format!("standard input: {error}")))?;
    Ok(text)
}

/// What was accepted, as one object.
pub fn as_json(thread: ThreadId, sent: &Sent) -> serde_json::Value {
    let Sent { run, message, turn_number, queue_position, cursor, replayed } = sent;
    serde_json::json!({
        "run_id": run,
        "thread_id": thread,
        "message_id": message,
        "turn_number": turn_number,
        "queue_position": queue_position,
        "cursor": cursor,
        "replayed": replayed,
    })
}

/// Where the answer will be. With `--wait` that goes to standard error: standard output is for the answer.
fn say(context: &Context, thread: ThreadId, sent: &Sent, wait: bool) -> Result<(), Failure> {
    if wait {
        eprintln!("{}", context.style.dim(&format!("{} on {thread}", sent.run)));
        return Ok(());
    }
    context.output.line(&format!("run     {}", sent.run))?;
    context.output.line(&format!("thread  {thread}"))?;
    context.output.line(&format!("cursor  {}", sent.cursor))?;
    let follow = format!("follow  runmesh attach {} --cursor {}{}", sent.run, sent.cursor, context.flags);
    Ok(context.output.line(&context.style.dim(&follow))?)
}
