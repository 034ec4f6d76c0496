//! Cancel hints, from any replica, for the workers whose Claim streams are here.

use crate::sessions::Sessions;
use runmesh_bus::{Bus, CancelHint};
use runmesh_domain::{Fault, Result};
use runmesh_host::Lifecycle;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::pb::worker as pb;
use std::sync::Arc;

/// Passes hints on until the replica drains.
pub fn start(bus: Bus, sessions: Arc<Sessions>, life: &Lifecycle) {
    let soft = life.soft().clone();
    life.spawn("cancel-hints", async move { soft.run_until_cancelled(pass_on(&bus, &sessions)).await.unwrap_or(Ok(())) });
}

async fn pass_on(bus: &Bus, sessions: &Sessions) -> Result<()> {
    let mut hints = bus.cancel_hints().await?;
    while let Some(CancelHint { run, fence, session }) = hints.next().await {
        let Some(stream) = sessions.get(session) else { continue };
        let lease = HeldRun { run, fence }.into_wire();
        let message = pb::claim_response::Message::Cancel(pb::CancelHint { lease: Some(lease) });
        // A worker that does not read its answers misses the hint, and gets the heartbeat's answer.
        drop(stream.answers.try_send(Ok(pb::ClaimResponse { message: Some(message) })));
    }
    Err(Fault::Unavailable { part: "nats", detail: "the hint subscription ended".into() }.into())
}
