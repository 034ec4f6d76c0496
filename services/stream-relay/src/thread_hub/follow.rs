//! The one task per thread that is waited at: subscribes to its hints, and has it looked at when one comes.

use super::ThreadHub;
use super::entry::Entry;
use crate::limits;
use runmesh_bus::{Bus, ThreadHints};
use runmesh_host::random;
use std::sync::Arc;
use tokio::time::sleep;

/// Follows a thread until nobody waits there.
pub async fn follow(hub: ThreadHub, bus: Bus, entry: Arc<Entry>) {
    let hints = async {
        loop {
            let subscribed = bus.thread_hints(entry.key().0, entry.key().1).await;
            // What was committed before the subscription is there to be read, and without one the look is all there is.
            hub.look_at(entry.key());
            match subscribed {
                Ok(hints) => pass_on(&hub, &entry, hints).await,
                Err(error) => tracing::debug!(thread = %entry.key().1, %error, "a thread cannot be subscribed to"),
            }
            let (least, most) = limits::SUBSCRIBE_AGAIN;
            sleep(random::between(least, most)).await;
        }
    };
    tokio::select! {
        () = entry.left() => {}
        () = hints => {}
    }
}

/// Until the connection is closed for good.
async fn pass_on(hub: &ThreadHub, entry: &Entry, mut hints: ThreadHints) {
    while hints.next().await.is_some() {
        hub.look_at(entry.key());
    }
}
