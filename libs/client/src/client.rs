//! The client itself: its connections and how one unary call is made. The calls are in `calls`.

use crate::address;
use crate::bounds;
use crate::credentials::Credentials;
use crate::error::ClientError;
use crate::options::Options;
use crate::retry::Retry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

/// How far apart two timers of one deadline may fire.
const TIMERS_DIFFER: Duration = Duration::from_millis(5);

/// A connection that adds the client's credentials to each call; any generated stub may be built over it.
pub type Channel = InterceptedService<tonic::transport::Channel, Credentials>;

/// A client of one mesh. Clones share connections. Nothing is connected before the first call.
#[derive(Clone)]
pub struct Client {
    unary: Channel,
    streams: Arc<[Channel]>,
    next_stream: Arc<AtomicUsize>,
    address: Arc<str>,
    deadline: Duration,
    patience: Duration,
}

impl Client {
    /// A client of the gateway at `address`, `http://127.0.0.1:7420` or `127.0.0.1:7420`. To be called within a Tokio
    /// runtime, which the connections then live on.
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Credential`] for what can never work. A gateway that is away shows at the
    /// first call.
    pub fn connect(address: &str, options: Options) -> Result<Self, ClientError> {
        let credentials = Credentials::new(&options)?;
        let endpoint = address::endpoint(address)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ClientError::NoRuntime);
        }
        let (unary, streams) = address::channels(&endpoint);
        let with_credentials = |channel| InterceptedService::new(channel, credentials.clone());
        Ok(Self {
            unary: with_credentials(unary),
            streams: streams.into_iter().map(with_credentials).collect(),
            next_stream: Arc::new(AtomicUsize::new(0)),
            address: endpoint.uri().to_string().trim_end_matches('/').into(),
            deadline: options.deadline,
            patience: options.patience,
        })
    }

    /// Where the gateway is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The connection of unary calls, for stubs that this client does not wrap, such as health and reflection. Without
    /// the client's deadline and retries.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.unary.clone()
    }

    /// A connection for a long-lived stream, never that of unary calls.
    #[must_use]
    pub fn stream_channel(&self) -> Channel {
        let turn = self.next_stream.fetch_add(1, Ordering::Relaxed) % self.streams.len().max(1);
        self.streams.get(turn).unwrap_or(&self.unary).clone()
    }

    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Makes one unary call: within the deadline, and again after UNAVAILABLE and broken connections. `message` is sent
    /// unchanged each time, its idempotency key included.
    pub(crate) async fn unary<M, T, F, A>(&self, message: M, call: F) -> Result<T, ClientError>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + self.deadline;
        let mut retry = Retry::new(bounds::TRIES_MAX);
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(until.saturating_duration_since(Instant::now()));
            let error = match timeout_at(until, call(self.channel(), request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => ClientError::of_status(status, &self.address),
                Err(_elapsed) => return Err(ClientError::DeadlineExceeded { after: self.deadline }),
            };
            let Some(pause) = retry.pause_after(&error) else { return Err(error) };
            // Tonic's own timer, which follows the same deadline, may fire a moment before ours.
            if Instant::now() + TIMERS_DIFFER >= until {
                return Err(ClientError::DeadlineExceeded { after: self.deadline });
            }
            if Instant::now() + pause >= until {
                return Err(error);
            }
            sleep(pause).await;
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}
