//! The line to a relay: attachments one after the other, each opened when the one before it broke. It hands over messages and
//! breaks, and knows nothing of what the messages say.

use super::patience::Patience;
use crate::bounds;
use crate::client::Client;
use crate::error::ClientError;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Streaming;

/// An attachment that is being opened.
pub(super) type Opening<M> = BoxFuture<'static, Result<Streaming<M>, ClientError>>;

/// See the module.
pub(super) struct Line<M> {
    client: Client,
    patience: Patience,
    phase: Phase<M>,
    reconnects: u32,
}

enum Phase<M> {
    /// Waiting before the next attachment.
    Pausing(Pin<Box<Sleep>>),
    /// The attachment is being opened.
    Opening(Opening<M>),
    /// Messages come; the timer ends a silence.
    Attached { messages: Box<Streaming<M>>, silence: Pin<Box<Sleep>> },
    /// Nothing more comes.
    Over,
}

impl<M> Line<M> {
    pub(super) fn new(client: Client, opening: Opening<M>) -> Self {
        let patience = Patience::new(client.patience(), Instant::now());
        Self { client, patience, phase: Phase::Opening(opening), reconnects: 0 }
    }

    /// How many attachments were given up and begun anew.
    pub(super) const fn reconnects(&self) -> u32 {
        self.reconnects
    }

    /// A message came, and was understood so far.
    pub(super) fn heard(&mut self, brought_on: bool) {
        self.patience.heard(Instant::now(), brought_on);
    }

    /// An attachment is over before its time: comes back after a pause, unless that cannot help; then it is over with the
    /// error to tell.
    pub(super) fn broken(&mut self, error: ClientError) -> Result<ClientError, ClientError> {
        if !error.is_passing() {
            self.close();
            return Err(error);
        }
        let Some(pause) = self.patience.pause(Instant::now(), &error) else {
            self.close();
            return Err(ClientError::GaveUp { after: self.patience.bound(), last: Box::new(error) });
        };
        self.reconnects = self.reconnects.saturating_add(1);
        self.phase = Phase::Pausing(Box::pin(sleep(pause)));
        Ok(error)
    }

    /// Nothing more is wanted.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Over;
    }

    /// The next message, or why the attachment is over, which is to be answered with [`Line::broken`]; nothing once closed.
    /// `open` begins the next attachment.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut open: impl FnMut(Client) -> Opening<M>,
    ) -> Poll<Option<Result<M, ClientError>>> {
        loop {
            match &mut self.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.phase = Phase::Opening(open(self.client.clone()));
                }
                Phase::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(messages) => {
                        let silence = Box::pin(sleep(bounds::SILENCE));
                        self.phase = Phase::Attached { messages: Box::new(messages), silence };
                    }
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Phase::Attached { messages, silence } => {
                    if let Poll::Ready(next) = messages.poll_next_unpin(cx) {
                        silence.as_mut().reset(Instant::now() + bounds::SILENCE);
                        return Poll::Ready(Some(match next {
                            Some(Ok(message)) => Ok(message),
                            Some(Err(status)) => Err(ClientError::of_status(status, self.client.address())),
                            None => Err(ClientError::Interrupted { problem: "the relay left without a word" }),
                        }));
                    }
                    ready!(silence.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(ClientError::Interrupted { problem: "the relay fell silent" })));
                }
            }
        }
    }
}
