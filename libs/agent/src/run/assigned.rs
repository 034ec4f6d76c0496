//! An assignment as it comes over the wire, checked and in the domain's words.

use runmesh_domain::Refusal;
use runmesh_domain::id::{OrgId, ThreadId};
use runmesh_domain::log::Position;
use runmesh_domain::spec::RunSpec;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::journal::{Context, HeldRun};
use runmesh_wire::convert::{id, required};
use runmesh_wire::pb::worker as pb;

/// A run to drive.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    /// The lease.
    pub(crate) held: HeldRun,
    /// The bearer token of the run's calls.
    pub(crate) run_token: String,
    /// What to run.
    pub(crate) spec: RunSpec,
    /// Where the log stood at the last journaled write.
    pub(crate) position: Position,
    /// True when a cancel was acknowledged already.
    pub(crate) cancel_requested: bool,
    /// The W3C traceparent of the call that sent the message, or nothing; once the run has a span, of that.
    pub(crate) traceparent: String,
    /// The context, or its first page; nothing when it is too large to come along.
    pub(crate) context: Option<Context>,
}

impl Assigned {
    /// Checks an assignment.
    pub(crate) fn of(assignment: pb::Assignment) -> Result<Self, Refusal> {
        let pb::Assignment {
            lease,
            run_token,
            thread_id,
            org_id,
            turn_number: _,
            spec,
            position,
            cancel_requested,
            traceparent,
            context,
        } = assignment;
        // A malformed assignment is refused whole, even in what the loop does not read.
        let (_, _): (ThreadId, OrgId) = (id("thread_id", &thread_id)?, id("org_id", &org_id)?);
        Ok(Self {
            held: required("lease", lease)?.from_wire("lease")?,
            run_token,
            spec: required("spec", spec)?.from_wire("spec")?,
            position: position.unwrap_or_default().from_wire("position")?,
            cancel_requested,
            traceparent,
            context: context.map(|context| context.from_wire("context")).transpose()?,
        })
    }
}
