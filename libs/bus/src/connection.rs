//! One connection to NATS: requests with deadlines, and news of its losses. It knows no subject of ours.

mod counts;

use crate::config::BusConfig;
use crate::fault::unavailable;
use crate::heal::Healer;
use crate::{limits, subjects};
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, HeaderMap, Message, Request, RequestErrorKind, ServerAddr, Subscriber};
use bytes::Bytes;
use counts::Counts;
use futures::FutureExt as _;
use futures::future::ready;
use futures::stream::{SelectAll, StreamExt as _};
use runmesh_domain::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A connection that comes back by itself.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    counts: Arc<Counts>,
    healer: Healer,
    /// Counts elections; ends with the last clone.
    elections: Arc<JoinSet<()>>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody got it.
    NotSent(String),
    /// Somebody may have.
    Unknown(String),
    /// Somebody may have, before the connection was lost or another server began to lead.
    Lost,
}

/// [`NoAnswer::Lost`] in words.
pub const LOST: &str = "the connection was lost, or another server leads a stream";

impl From<NoAnswer> for Error {
    /// For requests that change nothing.
    fn from(no: NoAnswer) -> Self {
        match no {
            NoAnswer::NotSent(detail) | NoAnswer::Unknown(detail) => unavailable(detail),
            NoAnswer::Lost => unavailable(LOST),
        }
    }
}

impl Connection {
    /// Connects; `purpose` tells the connections of one process apart.
    pub async fn open(config: &BusConfig, healer: Healer, purpose: &str, subscription: usize) -> Result<Self> {
        let servers = servers(&config.url)?;
        let counts = Arc::new(Counts::default());
        let (before_connecting, on_event) = (Arc::clone(&counts), Arc::clone(&counts));
        let options = ConnectOptions::new()
            .name(format!("{} {purpose}", config.name))
            .ping_interval(limits::PING)
            .connection_timeout(limits::CONNECT)
            .request_timeout(Some(limits::REQUEST))
            .subscription_capacity(subscription)
            .reconnect_delay_callback(reconnect_delay)
            // The choice is left to the client. What matters is when it asks: before it makes a connection, and on its own
            // task, so that nothing goes over a new connection before the loss of the old one is counted.
            .reconnect_to_server_callback(move |_, _| {
                before_connecting.lose();
                ready(None)
            })
            .event_callback(move |event| {
                on_event.event(&event);
                ready(())
            });
        let connect = timeout(limits::CONNECT * 2, options.connect(servers)).await;
        let client = connect
            .map_err(|_| unavailable("connecting timed out"))?
            .map_err(|error| unavailable(format!("connecting: {error}")))?;
        counts.read_from(client.statistics());
        Ok(Self { client, counts, healer, elections: Arc::default() })
    }

    /// Counts elections of these streams' leaders from now on.
    pub async fn count_elections(mut self, streams: &[&str]) -> Result<Self> {
        let mut elected = SelectAll::new();
        for stream in streams {
            elected.push(self.subscribe(subjects::leader_elected(stream)).await?);
        }
        let counts = Arc::clone(&self.counts);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(advisory) = elected.next().await {
                tracing::info!(subject = %advisory.subject, "another server leads a stream");
                counts.elect();
            }
        });
        self.elections = Arc::new(task);
        Ok(self)
    }

    /// The client itself, for JetStream's own calls.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is connected now, as far as anybody knows.
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Changes at least once with every loss and every election, before anything goes over a new connection: tails read
    /// before may be another server's.
    pub fn lost(&self) -> watch::Receiver<u64> {
        self.counts.lost()
    }

    /// Changes with every connection made and every election: subscriptions may have missed something.
    pub fn made(&self) -> watch::Receiver<u64> {
        self.counts.made()
    }

    /// Something says that what was read may be another server's by now.
    pub fn lose(&self) {
        self.counts.lose();
    }

    /// A stream is missing on the server: has it made again.
    pub async fn stream_is_missing(&self) {
        self.healer.stream_is_missing(self).await;
    }

    /// Asks what changes nothing, or what may be asked twice: a question that was lost is asked again, as long as there is
    /// time. While nobody leads a stream there is no answer; the server that is elected gives it at once.
    pub async fn ask(&self, subject: String, payload: Bytes, within: Duration) -> Result<Message, NoAnswer> {
        let asking = async {
            loop {
                match self.request(subject.clone(), None, payload.clone()).await {
                    Err(NoAnswer::Lost) if self.is_up() => {}
                    answered => return answered,
                }
            }
        };
        timeout(within, asking).await.unwrap_or_else(|_| Err(NoAnswer::Unknown("no answer in time".into())))
    }

    /// Sends a request and waits for its answer, but not beyond a loss of the connection or an election.
    pub async fn request(&self, subject: String, headers: Option<HeaderMap>, payload: Bytes) -> Result<Message, NoAnswer> {
        if !self.is_up() {
            return Err(NoAnswer::NotSent("not connected".into()));
        }
        let mut lost = self.lost();
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        tokio::select! {
            answer = timeout(limits::REQUEST, self.client.send_request(subject, request)) => match answer {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(error)) => Err(no_answer(&error)),
                Err(_) => Err(NoAnswer::Unknown("no answer in time".into())),
            },
            _ = lost.changed() => Err(NoAnswer::Lost),
        }
    }

    /// Waits until the server has seen everything that was sent on this connection before, subscriptions among it.
    pub async fn round_trip(&self) -> Result<()> {
        match self.request(subjects::NOBODY.to_owned(), None, Bytes::new()).await {
            // The answer of the server itself: nobody listens there.
            Err(NoAnswer::NotSent(_)) if self.is_up() => Ok(()),
            answer => answer.map(drop).map_err(Error::from),
        }
    }

    /// Sends without waiting for anything but room in the connection's own queue.
    pub async fn send(&self, subject: String, reply: Option<String>, payload: Bytes) -> Result<()> {
        if !self.is_up() {
            return Err(unavailable("not connected"));
        }
        let send = async {
            match reply {
                Some(reply) => self.client.publish_with_reply(subject, reply, payload).await,
                None => self.client.publish(subject, payload).await,
            }
        };
        let sent = timeout(limits::REQUEST, send).await.map_err(|_| unavailable("the connection's queue is full"))?;
        sent.map_err(|error| unavailable(format!("publishing: {error}")))
    }

    /// Sends when there is room at once, else drops it. For hints only.
    pub fn hint(&self, subject: String, payload: Bytes) {
        if !self.is_up() || !matches!(self.client.publish(subject, payload).now_or_never(), Some(Ok(()))) {
            tracing::debug!("a hint was dropped");
        }
    }

    /// Subscribes. The server may not know of it yet: whoever needs that makes a round trip on this connection.
    pub async fn subscribe(&self, subject: String) -> Result<Subscriber> {
        let subscribed = timeout(limits::REQUEST, self.client.subscribe(subject)).await;
        let subscribed = subscribed.map_err(|_| unavailable("the connection's queue is full"))?;
        subscribed.map_err(|error| unavailable(format!("subscribing: {error}")))
    }
}

fn servers(url: &str) -> Result<Vec<ServerAddr>> {
    let parsed = url.split(',').map(|one| one.trim().parse::<ServerAddr>());
    // The error says what is wrong without repeating the URL, which may hold a password.
    parsed.collect::<std::result::Result<_, _>>().map_err(|error| unavailable(format!("the URL of NATS: {error}")))
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).min(8)).unwrap_or(8);
    let (first, longest) = limits::RECONNECT;
    (first * 2_u32.pow(doublings)).min(longest)
}

fn no_answer(error: &async_nats::RequestError) -> NoAnswer {
    let detail = error.to_string();
    match error.kind() {
        RequestErrorKind::NoResponders | RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            NoAnswer::NotSent(detail)
        }
        RequestErrorKind::TimedOut | RequestErrorKind::Other => NoAnswer::Unknown(detail),
    }
}

#[cfg(test)]
pub(crate) mod tests;
