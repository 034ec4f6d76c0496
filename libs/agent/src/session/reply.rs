//! What the answer to a heartbeat means for the runs in hand.

use super::held::Held;
use runmesh_wire::pb::worker::HeartbeatResponse;
use runmesh_wire::pb::worker::heartbeat_response::Status;

/// What became of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Renewed; `drain` when the worker is to open Claim elsewhere.
    Renewed { drain: bool },
    /// Over for good.
    Lost,
}

/// Passes an answer on to the runs that it names.
pub(super) fn apply(reply: HeartbeatResponse, held: &Held) -> Verdict {
    let status = reply.status();
    let HeartbeatResponse { status: _, lost_run_ids, cancel_run_ids, drain } = reply;
    if status != Status::Ok {
        return Verdict::Lost;
    }
    for run in &lost_run_ids {
        held.with(run, |control| control.lost.cancel());
    }
    for run in &cancel_run_ids {
        held.with(run, |control| control.cancel.cancel());
    }
    Verdict::Renewed { drain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ok_renews() {
        let held = Held::default();
        let reply = |status: Status| HeartbeatResponse { status: status.into(), ..HeartbeatResponse::default() };
        assert_eq!(apply(reply(Status::Ok), &held), Verdict::Renewed { drain: false });
        assert_eq!(apply(reply(Status::Lost), &held), Verdict::Lost);
        assert_eq!(apply(reply(Status::Unspecified), &held), Verdict::Lost);
    }
}
