//! Looks after a pool in the background: resolves names, and probes backends so that an ejected one comes back without a call
//! having to try it, and one that stands still is found even while no call waits for it. A probe is a connection and an HTTP/2 PING;
//! the count of failures is cleared only by an answered call.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backend::Backend;
use super::ping::ping;
use super::pool::Pool;
use crate::random;

/// Pause while something is ejected or unknown.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// Runs until the pool is gone.
pub(super) async fn run(pool: Weak<Pool>, wake: Arc<Notify>) {
    let mut due = Instant::now();
    loop {
        let Some(pool) = pool.upgrade() else { return };
        let is_due = Instant::now() >= due;
        if is_due {
            resolve(&pool).await;
            due = Instant::now() + random::jittered(pool.config.resolve_every);
        }
        probe(&pool, is_due).await;
        let all_good = pool.backends().iter().all(|backend| backend.is_good());
        let pause = if all_good { due.saturating_duration_since(Instant::now()) } else { PROBE_PAUSE };
        drop(pool);
        let _woken_or_due = tokio::time::timeout(pause, wake.notified()).await;
    }
}

/// Looks the names up. One that fails keeps its last addresses: a name server that is away is no reason to drop backends.
async fn resolve(pool: &Arc<Pool>) {
    if pool.names.is_empty() {
        return;
    }
    let mut found = Vec::new();
    for name in &pool.names {
        match tokio::time::timeout(pool.config.connect_timeout, lookup_host(name.as_str())).await {
            Ok(Ok(addresses)) => found.extend(addresses.map(|address| (address.to_string(), name.clone()))),
            Ok(Err(error)) => {
                tracing::warn!(upstream = pool.config.name, name, %error, "name not resolved, keeping the last addresses");
                return;
            }
            Err(_) => {
                tracing::warn!(upstream = pool.config.name, name, "name not resolved in time, keeping the last addresses");
                return;
            }
        }
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    if !found.is_empty() {
        pool.replace_resolved(&found);
    }
}

/// Probes those not known to be good whose time has come, and those that a call waits for; all of them when `all`.
async fn probe(pool: &Arc<Pool>, all: bool) {
    let backends = pool.backends();
    let is_due = |backend: &&Arc<Backend>| backend.take_suspicion() || all || (!backend.is_good() && backend.ejected_for() == 0);
    let due = backends.iter().filter(is_due);
    futures::future::join_all(due.map(|backend| probe_one(pool, backend))).await;
}

async fn probe_one(pool: &Arc<Pool>, backend: &Arc<Backend>) {
    let began = backend.now();
    match tokio::time::timeout(pool.config.connect_timeout, ping(&backend.address)).await {
        Ok(Ok(())) => {
            backend.answered();
            backend.readmit();
        }
        Ok(Err(_)) => pool.failed(backend),
        // It takes no new connection, being full or busy, and answers on those that it has: calls go on.
        Err(_) if backend.has_answered_since(began) => {}
        Err(_) => pool.fell_silent(backend),
    }
}
