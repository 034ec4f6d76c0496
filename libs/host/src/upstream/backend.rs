//! One backend: its address, its connections, and what is known of its health. Ejected for 100 ms after a failure, twice as
//! long after each further one, at most 5 s; a silent one until it gives a sign of life.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;
use tonic::transport::Endpoint;

use super::config::UpstreamConfig;
use super::lane::{Lane, Ticket};
use crate::random;
use crate::server::http2;

const EJECTED_MIN: Duration = Duration::from_millis(100);
const EJECTED_MAX: Duration = Duration::from_secs(5);

pub(super) struct Backend {
    /// `host:port`, what is probed and what tells backends apart.
    pub(super) address: String,
    endpoint: Endpoint,
    lanes: RwLock<Vec<Arc<Lane>>>,
    calls: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds after `born` until which no call is sent here.
    ejected_until: AtomicU64,
    born: Instant,
    /// Answered a call or a probe, and nothing failed since.
    good: AtomicBool,
    /// Took a connection and did not answer the probe: no call is to find out whether it does again.
    silent: AtomicBool,
    /// A call waits for it, and it has answered nobody of late: it is to be probed.
    suspected: AtomicBool,
    /// As `suspected`, until it gives a sign of life: other backends are better meanwhile.
    doubted: AtomicBool,
    /// Milliseconds after `born` of its last answer, on any connection.
    answered: AtomicU64,
}

impl Backend {
    /// A backend at `address`; `origin` is what requests name as their authority.
    pub(super) fn new(address: String, origin: &Uri, config: &UpstreamConfig) -> Option<Arc<Self>> {
        let uri: Uri = format!("http://{address}").parse().ok()?;
        let windows = config.windows();
        let endpoint = Endpoint::from(uri)
            .origin(origin.clone())
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(http2::UPSTREAM_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(http2::UPSTREAM_KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .buffer_size(config.calls_per_connection());
        Some(Arc::new(Self {
            address,
            endpoint,
            lanes: RwLock::default(),
            calls: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            born: Instant::now(),
            good: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            suspected: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        }))
    }

    /// Calls in progress.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn is_good(&self) -> bool {
        self.good.load(Ordering::Relaxed)
    }

    /// Whether it takes connections and does not answer.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// It sent something: the beginning of an answer, or a part of one.
    pub(super) fn answered(&self) {
        self.answered.store(self.now().max(1), Ordering::Relaxed);
        if self.is_doubted() {
            self.doubted.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a caller left it without an answer, and it has given no sign of life since.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Whether it sent something at `moment` (of [`Backend::now`]) or later.
    pub(super) fn has_answered_since(&self, moment: u64) -> bool {
        self.answered.load(Ordering::Relaxed) >= moment
    }

    /// A call has waited for [`SILENCE`](super::call::SILENCE), or was given up by its caller before its end. The result is whether the backend is to be probed: not while it
    /// answers others, who know as well as a probe that it lives.
    pub(super) fn suspect(&self) -> bool {
        let silence = u64::try_from(super::call::SILENCE.as_millis()).unwrap_or(u64::MAX);
        let is_quiet = !self.has_answered_since(self.now().saturating_sub(silence).max(1));
        if is_quiet {
            self.doubted.store(true, Ordering::Relaxed);
        }
        is_quiet && !self.suspected.swap(true, Ordering::Relaxed)
    }

    /// Whether it was suspected since this was asked last.
    pub(super) fn take_suspicion(&self) -> bool {
        self.suspected.swap(false, Ordering::Relaxed)
    }

    /// Milliseconds until calls may be sent again; zero when they may.
    pub(super) fn ejected_for(&self) -> u64 {
        self.ejected_until.load(Ordering::Relaxed).saturating_sub(self.now())
    }

    /// A call was answered.
    pub(super) fn succeeded(&self) {
        self.answered();
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.readmit();
    }

    /// It can be reached again. The count of failures stays until a call is answered: a port that accepts proves little.
    pub(super) fn readmit(&self) {
        self.silent.store(false, Ordering::Relaxed);
        if !self.is_good() {
            self.ejected_until.store(0, Ordering::Relaxed);
            self.good.store(true, Ordering::Relaxed);
        }
    }

    /// A connection failed. The result is whether this ejected it, as opposed to being so already.
    pub(super) fn failed(&self) -> bool {
        if self.ejected_for() > 0 {
            return false;
        }
        let earlier = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = EJECTED_MIN.saturating_mul(1 << earlier.min(10)).min(EJECTED_MAX);
        let until = self.now().saturating_add(u64::try_from(random::jittered(pause).as_millis()).unwrap_or(u64::MAX));
        self.ejected_until.store(until, Ordering::Relaxed);
        self.good.store(false, Ordering::Relaxed);
        true
    }

    /// It stands still, or nothing reaches it. What waits for it ends, and its connections are left to themselves: new calls, when it
    /// is back, get new ones. The result is as of [`Backend::failed`].
    pub(super) fn fell_silent(&self) -> bool {
        self.silent.store(true, Ordering::Relaxed);
        let ejected = self.failed();
        let lanes = std::mem::take(&mut *self.lanes.write().unwrap_or_else(PoisonError::into_inner));
        lanes.iter().for_each(|lane| lane.give_up());
        ejected
    }

    /// A place on the emptiest connection that has one, opening another while that is allowed. `None`: all are full.
    pub(super) fn enter(self: &Arc<Self>, config: &UpstreamConfig) -> Option<Ticket> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let lane = self.free_lane(config).or_else(|| self.new_lane(config));
        if lane.is_none() {
            self.left();
        }
        Some(Ticket::new(Arc::clone(self), lane?))
    }

    pub(super) fn left(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    fn free_lane(&self, config: &UpstreamConfig) -> Option<Arc<Lane>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.iter().min_by_key(|lane| lane.calls())?;
        lane.try_enter(config.calls_per_connection()).then(|| Arc::clone(lane))
    }

    fn new_lane(&self, config: &UpstreamConfig) -> Option<Arc<Lane>> {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have opened one, or left, while this call waited for the lock.
        if let Some(lane) = lanes.iter().find(|lane| lane.try_enter(config.calls_per_connection())) {
            return Some(Arc::clone(lane));
        }
        if lanes.len() >= config.connections_max {
            return None;
        }
        let lane = Arc::new(Lane::entered(self.endpoint.connect_lazy()));
        lanes.push(Arc::clone(&lane));
        Some(lane)
    }

    /// Milliseconds since this backend is known.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
