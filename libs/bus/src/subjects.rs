//! Every subject of the mesh, and the only place that builds one. Subjects are built from parsed ids alone.

use crate::key::RunKey;
use runmesh_domain::id::{OrgId, RunId, SessionId, ThreadId};

/// All run logs.
pub const LOG_ALL: &str = "rm.log.>";
/// All run logs as the server sends them on.
pub const LIVE_ALL: &str = "rm.live.>";
/// All transitions.
pub const TRANSITION_ALL: &str = "rm.transition.>";
/// All wake-ups.
pub const WAKE_ALL: &str = "rm.wake.*";
/// All cancels.
pub const CANCEL_ALL: &str = "rm.hint.cancel.*";
/// Changes of the members of all orgs.
pub const MEMBERS_ALL: &str = "rm.hint.members.*";
/// Nobody listens here: the server itself answers a request that it has no reader.
pub const NOBODY: &str = "rm.hint.nobody";

/// The log of a run.
pub fn log(RunKey { org, thread, run }: RunKey) -> String {
    format!("rm.log.{org}.{thread}.{run}")
}

/// The log of a run as the server sends it on.
pub fn live(RunKey { org, thread, run }: RunKey) -> String {
    format!("rm.live.{org}.{thread}.{run}")
}

/// The transitions of a run.
pub fn transition(org: OrgId, run: RunId) -> String {
    format!("rm.transition.{org}.{run}")
}

/// There is work for an org.
pub fn wake(org: OrgId) -> String {
    format!("rm.wake.{org}")
}

/// Cancels for a worker session.
pub fn cancel(session: SessionId) -> String {
    format!("rm.hint.cancel.{session}")
}

/// Where NATS says that another server leads a stream of several copies.
pub fn leader_elected(stream: &str) -> String {
    format!("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{stream}")
}

/// Changes of the turns of a thread.
pub fn thread(org: OrgId, thread: ThreadId) -> String {
    format!("rm.hint.thread.{org}.{thread}")
}

/// Changes of the members of an org.
pub fn members(org: OrgId) -> String {
    format!("rm.hint.members.{org}")
}

/// The last token of a subject.
pub fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_out_of_subjects() {
        let org = OrgId::of_name("dev");
        assert_eq!(last_token(&wake(org)).parse(), Ok(org));
        assert_eq!(last_token(&members(org)).parse(), Ok(org));
    }
}
