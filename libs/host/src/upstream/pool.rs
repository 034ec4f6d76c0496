//! The backends of an upstream and the choice among them: the one with the fewest calls, in turn among equals; one that was
//! left without an answer only when there is no better one, ejected ones after that, silent ones last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::Notify;

use super::backend::Backend;
use super::config::{UpstreamConfig, UpstreamError};
use crate::metrics;

pub(super) struct Pool {
    pub(super) config: UpstreamConfig,
    /// Names looked up by the maintenance, as `host:port`.
    pub(super) names: Vec<String>,
    /// Wakes the maintenance before its time.
    pub(super) wake: Arc<Notify>,
    fixed: Vec<Arc<Backend>>,
    backends: RwLock<Arc<[Arc<Backend>]>>,
    turn: AtomicUsize,
    ejections: Counter<u64>,
    pub(super) retries: Counter<u64>,
    pub(super) labels: [KeyValue; 1],
}

impl Pool {
    pub(super) fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        if config.urls.is_empty() {
            return Err(UpstreamError::Empty(config.name));
        }
        let (mut names, mut fixed) = (Vec::new(), Vec::new());
        for url in &config.urls {
            let refused = || UpstreamError::Address { name: config.name.clone(), url: url.clone() };
            if let Some(name) = url.strip_prefix("dns:///") {
                origin(name).ok_or_else(refused)?;
                names.push(name.to_owned());
            } else {
                let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).ok_or_else(refused)?;
                let origin = origin(address).ok_or_else(refused)?;
                fixed.push(Backend::new(address.to_owned(), &origin, &config).ok_or_else(refused)?);
            }
        }
        let meter = opentelemetry::global::meter("runmesh-host");
        Ok(Self {
            names,
            wake: Arc::new(Notify::new()),
            backends: RwLock::new(fixed.clone().into()),
            fixed,
            turn: AtomicUsize::new(0),
            ejections: meter.u64_counter(metrics::UPSTREAM_EJECTIONS).build(),
            retries: meter.u64_counter(metrics::UPSTREAM_RETRIES).build(),
            labels: [KeyValue::new("pool", config.name.clone())],
            config,
        })
    }

    pub(super) fn backends(&self) -> Arc<[Arc<Backend>]> {
        Arc::clone(&self.backends.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn ready(&self) -> bool {
        self.backends().iter().any(|backend| backend.is_good())
    }

    /// The backend for the next call; `avoid` is taken only when there is no other. `None` while no address is known.
    pub(super) fn pick(&self, avoid: Option<&Arc<Backend>>) -> Option<Arc<Backend>> {
        let backends = self.backends();
        if backends.is_empty() {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % backends.len();
        let in_turn = backends[start..].iter().chain(&backends[..start]);
        // An ejected backend whose time is nearly over is the best of a bad lot.
        let cost = |backend: &&Arc<Backend>| {
            let avoided = avoid.is_some_and(|other| Arc::ptr_eq(other, backend));
            (avoided, backend.is_silent(), backend.ejected_for(), backend.is_doubted(), backend.calls())
        };
        in_turn.min_by_key(cost).map(Arc::clone)
    }

    /// A connection of `backend` failed.
    pub(super) fn failed(&self, backend: &Backend) {
        if backend.failed() {
            self.ejections.add(1, &self.labels);
            tracing::warn!(upstream = self.config.name, backend = backend.address, "backend ejected");
            self.wake.notify_one();
        }
    }

    /// `backend` took a connection and did not answer a probe.
    pub(super) fn fell_silent(&self, backend: &Backend) {
        if backend.fell_silent() {
            self.ejections.add(1, &self.labels);
            tracing::warn!(upstream = self.config.name, backend = backend.address, "backend does not answer, ejected");
        }
    }

    /// A call waits for `backend`, perhaps in vain.
    pub(super) fn suspect(&self, backend: &Backend) {
        if backend.suspect() {
            self.wake.notify_one();
        }
    }

    /// Takes over the addresses found for the names, as (address, name). Known backends keep their connections.
    pub(super) fn replace_resolved(&self, found: &[(String, String)]) {
        let known = self.backends();
        let fresh = found.iter().filter_map(|(address, name)| {
            let same = known.iter().find(|backend| backend.address == *address);
            same.map(Arc::clone).or_else(|| Backend::new(address.clone(), &origin(name)?, &self.config))
        });
        let all: Arc<[Arc<Backend>]> = self.fixed.iter().map(Arc::clone).chain(fresh).collect();
        *self.backends.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// `http://host:port` as a URI, if there is a host and a port.
fn origin(host_and_port: &str) -> Option<Uri> {
    let uri: Uri = format!("http://{host_and_port}").parse().ok()?;
    (uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some() && uri.path() == "/").then_some(uri)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn pool(urls: &[&str]) -> Result<Pool, UpstreamError> {
        Pool::new(UpstreamConfig::unary("test", urls.iter().map(|url| (*url).to_owned()).collect()))
    }

    #[test]
    fn addresses_that_cannot_be_are_refused() {
        assert!(pool(&[]).is_err());
        for url in ["", "127.0.0.1:1", "https://a:1", "http://a", "http://:1", "dns:///a", "http://a:1/path"] {
            assert!(pool(&[url]).is_err(), "{url}");
        }
        assert!(pool(&["http://a:1", "http://b:2/", "dns:///c:3"]).is_ok());
    }

    #[tokio::test]
    async fn equals_take_turns_and_a_failed_one_is_left_out() {
        let pool = pool(&["http://127.0.0.1:1", "http://127.0.0.1:2"]).unwrap();
        let first = pool.pick(None).unwrap();
        let second = pool.pick(None).unwrap();
        assert_ne!(first.address, second.address);

        pool.failed(&first);
        for _ in 0..4 {
            assert_eq!(pool.pick(None).unwrap().address, second.address);
        }
        // With both ejected a call still goes somewhere.
        pool.failed(&second);
        assert!(pool.pick(None).is_some());
    }

    #[tokio::test]
    async fn the_busier_one_is_avoided() {
        let pool = pool(&["http://127.0.0.1:1", "http://127.0.0.1:2"]).unwrap();
        let busy = pool.pick(None).unwrap();
        let ticket = busy.enter(&pool.config).unwrap();
        for _ in 0..4 {
            assert_ne!(pool.pick(None).unwrap().address, busy.address);
        }
        drop(ticket);
        assert_eq!(busy.calls(), 0);
    }

    #[tokio::test]
    async fn one_that_was_left_without_an_answer_is_avoided_until_it_answers() {
        let pool = pool(&["http://127.0.0.1:1", "http://127.0.0.1:2"]).unwrap();
        let (frozen, other) = (pool.pick(None).unwrap(), pool.pick(None).unwrap());
        // It has more to do, and is better all the same.
        let ticket = other.enter(&pool.config).unwrap();
        pool.suspect(&frozen);
        for _ in 0..4 {
            assert_eq!(pool.pick(None).unwrap().address, other.address);
        }
        pool.failed(&other);
        assert_eq!(pool.pick(None).unwrap().address, frozen.address, "an ejected one is worse");
        frozen.answered();
        pool.suspect(&frozen);
        assert!(!frozen.is_doubted(), "it has just answered somebody");
        drop(ticket);
    }

    #[tokio::test]
    async fn a_full_backend_refuses_and_keeps_count() {
        let mut config = UpstreamConfig::streaming("test", vec!["http://127.0.0.1:1".to_owned()]);
        (config.calls_per_connection, config.connections_max) = (2, 2);
        let pool = Pool::new(config).unwrap();
        let backend = pool.pick(None).unwrap();
        let held: Vec<_> = (0..4).map(|_| backend.enter(&pool.config).unwrap()).collect();
        assert!(backend.enter(&pool.config).is_none());
        drop(held);
        assert_eq!(backend.calls(), 0);
        assert!(backend.enter(&pool.config).is_some());
    }
}
