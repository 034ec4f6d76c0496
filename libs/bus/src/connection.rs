//! One connection to NATS: requests with deadlines, and news of its losses. It knows no subject of ours.

use crate::config::BusConfig;
use crate::fault::unavailable;
use crate::heal::Healer;
use crate::limits;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, Request, RequestErrorKind, ServerAddr, Subscriber};
use bytes::Bytes;
use futures::FutureExt as _;
use runmesh_domain::{Error, Result};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// A connection that comes back by itself.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    lost: watch::Receiver<u64>,
    made: watch::Receiver<u64>,
    healer: Healer,
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody got it.
    NotSent(String),
    /// Somebody may have.
    Unknown(String),
}

impl From<NoAnswer> for Error {
    /// For requests that change nothing.
    fn from(no: NoAnswer) -> Self {
        match no {
            NoAnswer::NotSent(detail) | NoAnswer::Unknown(detail) => unavailable(detail),
        }
    }
}

impl Connection {
    /// Connects; `purpose` tells the connections of one process apart.
    pub async fn open(config: &BusConfig, healer: Healer, purpose: &str, subscription: usize) -> Result<Self> {
        let servers = servers(&config.url)?;
        let ((lost_tx, lost), (made_tx, made)) = (watch::channel(0_u64), watch::channel(0_u64));
        let options = ConnectOptions::new()
            .name(format!("{} {purpose}", config.name))
            .ping_interval(limits::PING)
            .connection_timeout(limits::CONNECT)
            .request_timeout(Some(limits::REQUEST))
            .subscription_capacity(subscription)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                match event {
                    Event::Connected => made_tx.send_modify(|count| *count += 1),
                    Event::Disconnected => lost_tx.send_modify(|count| *count += 1),
                    Event::LameDuckMode
                    | Event::Draining
                    | Event::Closed
                    | Event::SlowConsumer(_)
                    | Event::ServerError(_)
                    | Event::ClientError(_) => {}
                }
                std::future::ready(())
            });
        let connect = timeout(limits::CONNECT * 2, options.connect(servers)).await;
        let client = connect
            .map_err(|_| unavailable("connecting timed out"))?
            .map_err(|error| unavailable(format!("connecting: {error}")))?;
        Ok(Self { client, lost, made, healer })
    }

    /// The client itself, for JetStream's own calls.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is connected now, as far as anybody knows.
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Counts the times that it was lost; a change means that tails read before may be another server's.
    pub fn lost(&self) -> watch::Receiver<u64> {
        self.lost.clone()
    }

    /// Counts the times that it was made; a change means that subscriptions may have missed something.
    pub fn made(&self) -> watch::Receiver<u64> {
        self.made.clone()
    }

    /// A stream is missing on the server: has it made again.
    pub async fn stream_is_missing(&self) {
        self.healer.stream_is_missing(self).await;
    }

    /// Sends a request and waits for its answer, but not beyond a loss of the connection.
    pub async fn request(&self, subject: String, headers: Option<HeaderMap>, payload: Bytes) -> Result<Message, NoAnswer> {
        if !self.is_up() {
            return Err(NoAnswer::NotSent("not connected".into()));
        }
        let mut lost = self.lost.clone();
        lost.mark_unchanged();
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
            _ = lost.changed() => Err(NoAnswer::Unknown("the connection was lost".into())),
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
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_its_bound() {
        assert_eq!(reconnect_delay(1), Duration::from_millis(50));
        assert_eq!(reconnect_delay(3), Duration::from_millis(200));
        assert_eq!(reconnect_delay(1_000), Duration::from_secs(1));
    }

    #[test]
    fn several_servers_may_be_named() {
        assert_eq!(servers("nats://a:1, nats://b:2").map(|list| list.len()), Ok(2));
        assert!(servers("no url at all").is_err());
    }
}
