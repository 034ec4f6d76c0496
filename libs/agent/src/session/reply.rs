//! What the answer to a heartbeat means for the runs in hand.

use super::held::Held;
use runmesh_wire::pb::worker::heartbeat_response::Status;
use runmesh_wire::pb::worker::{HeartbeatResponse, Lease};
use std::collections::HashSet;

/// What became of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It lives; `drain` when the worker is to open Claim elsewhere.
    Lives { renewed: bool, drain: bool },
    /// Over for good.
    Lost,
}

/// Passes an answer on to the attempts that the heartbeat named as `sent` and the answer names by their runs. An attempt that
/// was taken in hand since then was not spoken of.
pub(super) fn apply(reply: HeartbeatResponse, sent: &[Lease], held: &Held) -> Verdict {
    let status = reply.status();
    let HeartbeatResponse { status: _, lost_run_ids, cancel_run_ids, drain, not_renewed } = reply;
    if status != Status::Ok {
        return Verdict::Lost;
    }
    let (lost, canceled): (HashSet<_>, HashSet<_>) = (lost_run_ids.iter().collect(), cancel_run_ids.iter().collect());
    for lease in sent {
        if lost.contains(&lease.run_id) {
            held.with_lease(lease.clone(), |control| control.lost.cancel());
        }
        if canceled.contains(&lease.run_id) {
            held.with_lease(lease.clone(), |control| control.cancel.cancel());
        }
    }
    Verdict::Lives { renewed: !not_renewed, drain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use runmesh_domain::id::RunId;
    use runmesh_wire::convert::journal::HeldRun;
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn only_ok_renews() {
        let held = Held::default();
        let reply = |status: Status| HeartbeatResponse { status: status.into(), ..HeartbeatResponse::default() };
        assert_eq!(apply(reply(Status::Ok), &[], &held), Verdict::Lives { renewed: true, drain: false });
        let not_renewed = HeartbeatResponse { not_renewed: true, ..reply(Status::Ok) };
        assert_eq!(apply(not_renewed, &[], &held), Verdict::Lives { renewed: false, drain: false });
        assert_eq!(apply(reply(Status::Lost), &[], &held), Verdict::Lost);
        assert_eq!(apply(reply(Status::Unspecified), &[], &held), Verdict::Lost);
    }

    fn control() -> Arc<Control> {
        Arc::new(Control::new(String::new(), CancellationToken::new(), CancellationToken::new()))
    }

    #[test]
    fn an_answer_is_about_the_attempts_that_were_named() {
        let held = Arc::new(Held::default());
        let run = RunId::derived(&[b"r"]);
        let (first, second) = (control(), control());
        let about = |name: &str| vec![name.to_owned()];
        let answer = || HeartbeatResponse {
            status: Status::Ok.into(),
            lost_run_ids: about(&run.to_string()),
            cancel_run_ids: about(&run.to_string()),
            drain: false,
            not_renewed: false,
        };
        let _first = held.take(HeldRun { run, fence: 1 }, "s", Arc::clone(&first));
        let sent = held.leases("s");
        // While the answer is on its way, the next attempt is assigned to this worker again.
        let _second = held.take(HeldRun { run, fence: 2 }, "s", Arc::clone(&second));
        apply(answer(), &sent, &held);
        assert!(!second.lost.is_cancelled() && !second.cancel.is_cancelled());
        apply(HeartbeatResponse { cancel_run_ids: about("nonsense"), ..answer() }, &held.leases("s"), &held);
        assert!(second.lost.is_cancelled() && !second.cancel.is_cancelled());
        apply(answer(), &held.leases("s"), &held);
        assert!(second.cancel.is_cancelled());
    }
}
