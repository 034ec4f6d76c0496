//! `runmesh chat`: a conversation. On a terminal with a prompt, Esc and Ctrl-C; without one each line of standard input is a
//! message and the output is plain.

mod input;
mod session;

use super::context::Context;
use super::done::Done;
use super::signals::Signals;
use super::watch::screen::Screen;
use crate::failure::Failure;
use clap::Args;
use input::{Input, Said};
use runmesh_domain::id::ThreadId;
use session::{Session, Turn};

/// Options of `runmesh chat`.
#[derive(Debug, Clone, Args)]
pub struct Chat {
    /// The thread to go on with; a new one when absent.
    #[arg(long)]
    thread: Option<ThreadId>,
    /// The agent of a new thread, by name or id.
    #[arg(long, default_value = "default", conflicts_with = "thread")]
    agent: String,
}

impl Chat {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let mut input = Input::new(context);
        let mut session = Session {
            context,
            thread: self.thread,
            agent: self.agent,
            signals: Signals::listen()?,
            screen: Screen::new(context.style),
            interactive: input.is_interactive(),
        };
        session.greet().await?;
        let mut all_well = true;
        if let Some(turn) = session.catch_up().await? {
            match turn {
                Turn::Left => return Ok(Done::Detached),
                Turn::Over { completed } => all_well &= completed,
            }
        }
        loop {
            let text = match input.next(&mut session.signals).await? {
                Said::Line(text) if text.trim().is_empty() => continue,
                Said::Line(text) => text,
                Said::Nothing => return Ok(Done::well_if(all_well || session.interactive)),
                Said::Leave => {
                    session.say_how_to_come_back();
                    return Ok(Done::Detached);
                }
            };
            match session.turn(&text).await {
                Ok(Turn::Left) => return Ok(Done::Detached),
                Ok(Turn::Over { completed }) => all_well &= completed,
                Err(failure) if session.interactive => session.complain(&failure)?,
                Err(failure) => return Err(failure),
            }
        }
    }
}
