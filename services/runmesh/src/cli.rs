//! The command line that talks to a mesh. Everything goes through the public client, as any user's program would.

mod agents;
mod approvals;
mod attach;
mod cancel;
mod chat;
mod context;
mod doctor;
mod done;
mod members;
mod names;
mod orgs;
mod output;
mod printable;
mod queue;
mod runs;
mod send;
mod show;
mod signals;
mod style;
mod table;
mod threads;
mod top;
mod watch;
mod when;
mod workers;

pub use context::Global;
pub use done::Done;

use crate::failure::Failure;
use clap::Subcommand;
use context::Context;

/// What can be asked of a mesh.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Talk with an agent.
    Chat(chat::Chat),
    /// Send one message; prints the run that answers it.
    Send(send::Send),
    /// Follow a run, which exits 0 when it completes, or the turns of a thread.
    Attach(attach::Attach),
    /// End a run.
    Cancel(cancel::Cancel),
    /// List, show, apply and delete agents.
    Agents(agents::Agents),
    /// List threads, the newest change first.
    Threads(threads::Threads),
    /// List runs, the newest first.
    Runs(runs::Runs),
    /// Show a run's transitions and, with --steps, its journal.
    Show(show::Show),
    /// List the run that holds a thread and those queued behind it.
    Queue(queue::Queue),
    /// List the workers that serve the org.
    Workers(workers::Workers),
    /// List, create, update and delete orgs.
    Orgs(orgs::Orgs),
    /// List, add and remove members of the org.
    Members(members::Members),
    /// List what waits for a person.
    Approvals(approvals::Approvals),
    /// Show who is working on what.
    Top(top::Top),
    /// Check the mesh, part by part.
    Doctor,
}

/// Runs one command.
///
/// # Errors
/// [`Failure`], with the line to print and the exit code.
pub async fn run(global: Global, command: Command) -> Result<Done, Failure> {
    let context = Context::new(global)?;
    match command {
        Command::Chat(chat) => chat.run(&context).await,
        Command::Send(send) => send.run(&context).await,
        Command::Attach(attach) => attach.run(&context).await,
        Command::Cancel(cancel) => cancel.run(&context).await,
        Command::Agents(agents) => agents.run(&context).await,
        Command::Threads(threads) => threads.run(&context).await,
        Command::Runs(runs) => runs.run(&context).await,
        Command::Show(show) => show.run(&context).await,
        Command::Queue(queue) => queue.run(&context).await,
        Command::Workers(workers) => workers.run(&context).await,
        Command::Orgs(orgs) => orgs.run(&context).await,
        Command::Members(members) => members.run(&context).await,
        Command::Approvals(approvals) => approvals.run(&context).await,
        Command::Top(top) => top.run(&context).await,
        Command::Doctor => doctor::run(&context).await,
    }
}
