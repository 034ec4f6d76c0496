//! What a run is waiting for, in words.

use crate::cli::names;
use runmesh_client::pb::run::run::State;
use runmesh_client::pb::stream::Status;

/// The line of a status; nothing when there is nothing to wait for.
pub fn of(status: &Status) -> Option<String> {
    if status.log_unavailable {
        return Some("the log is away; the run goes on and its text follows".to_owned());
    }
    match status.state() {
        State::Queued => Some(match status.queue_position {
            1 => "queued: 1 turn comes before it".to_owned(),
            0 => "queued".to_owned(),
            turns => format!("queued: {turns} turns come before it"),
        }),
        State::Ready => {
            let why = names::blocked_by(status.blocked_by()).map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("waiting for a worker{why}"))
        }
        State::Waiting => Some("waiting for a person; runmesh approvals lists what for".to_owned()),
        State::Unspecified
        | State::Running
        | State::Completed
        | State::Failed
        | State::Canceled
        | State::Aborted
        | State::Superseded => None,
    }
}
