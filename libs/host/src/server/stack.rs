//! The layers of every call, from the inside out, each with the reason why it sits where it does. The type is written out:
//! no layer boxes its future or its body.

use std::sync::Arc;

use tonic::service::Routes;

use super::Policy;
use super::config::ServerConfig;
use super::deadline::Deadlines;
use super::guard::{Guard, Guarded};
use super::normalise::Normalise;
use super::panic::CatchPanic;
use super::request_id::RequestIds;
use super::shed::{Limits, Shed};
use super::trace::Trace;

/// The whole stack around the routes.
pub(super) type Stack = RequestIds<Trace<Normalise<CatchPanic<Deadlines<Shed<Guarded<Routes>>>>>>>;

/// Puts the layers around `routes`.
pub(super) fn build(routes: Routes, config: &ServerConfig, policy: Policy, guard: Option<Arc<dyn Guard>>) -> Stack {
    // Innermost, right before the handler: verifying costs most, so it comes after everything that can refuse for less.
    let calls = Guarded::new(routes, guard);
    // Outside the work it bounds and with no queue: a call over the limit is answered at once, not made to wait for its end.
    let calls = Shed::new(calls, Limits::new(config), policy.deadline);
    // Outside the shed, so that the time counts from the arrival; inside the rest, so that its answer is seen and completed.
    let calls = Deadlines::new(calls, policy.deadline);
    // A panic in anything above becomes one INTERNAL answer instead of a reset stream.
    let calls = CatchPanic::new(calls);
    // Sees every status of every layer and of tonic itself, and gives each failure its one ErrorInfo.
    let calls = Normalise::new(calls, policy.reason);
    // Outside the normaliser: measures and logs what the caller really gets.
    let calls = Trace::new(calls, policy.knows);
    // Outermost, so that the span of the call already has the id and every answer carries it.
    RequestIds::new(calls)
}
