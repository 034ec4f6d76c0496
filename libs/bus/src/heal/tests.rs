//! Missing streams are made again by one caller, and nobody waits for it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::connection::tests::{Opened, opened};
use futures::FutureExt as _;

#[tokio::test]
async fn nobody_waits_for_somebody_elses_repair() {
    let Opened { _nats, config, healer, connection } = opened().await;
    let repairing = healer.last.lock().await;
    assert!(healer.stream_is_missing(&connection).now_or_never().is_some());
    drop(repairing);
    let lost = connection.lost();
    healer.stream_is_missing(&connection).await;
    assert!(lost.has_changed().unwrap(), "what was read of the missing stream is worth nothing");
    assert!(!ensure::missing(&connection, &config.streams).await.unwrap(), "they were made");
}
