//! Reading a log by batched direct gets, one page at a time. A reader that stops costs the page it holds and no more.
//!
//! Direct gets may be answered by a follower that lags: the end it shows counts only once it has what the leader had.

use super::Batch;
use crate::connection::Connection;
use crate::fault::{internal, unavailable};
use crate::key::RunKey;
use crate::live::{batch, number};
use crate::{limits, streams, subjects};
use async_nats::{Message, Subscriber, header};
use bytes::Bytes;
use futures::StreamExt as _;
use runmesh_domain::Result;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

/// Statuses of the last message of a page, and of a page with nothing in it.
const END_OF_BATCH: u16 = 204;
const NOTHING: u16 = 404;

/// What readings of all logs share.
#[derive(Debug, Clone)]
pub(super) struct Readings {
    connection: Connection,
    /// Pages that may be on their way at once.
    pages: Arc<Semaphore>,
    large_pages: Arc<Semaphore>,
}

impl Readings {
    pub(super) fn new(connection: Connection) -> Self {
        let pages = Arc::new(Semaphore::new(limits::PAGES_AT_ONCE));
        Self { connection, pages, large_pages: Arc::new(Semaphore::new(limits::LARGE_PAGES)) }
    }
}

/// A reading of one run's log.
#[derive(Debug)]
pub struct Replay {
    readings: Readings,
    subject: String,
    /// The next stream sequence to ask for.
    next: u64,
    up_to: u64,
    inbox: Option<(String, Subscriber)>,
    page: Page,
    lagging_since: Option<Instant>,
}

/// The page that was read last.
#[derive(Debug, Default)]
struct Page {
    /// Counts questions, so that late messages of an earlier one are told apart.
    count: u64,
    bytes_max: usize,
    /// What of it was not taken yet.
    batches: VecDeque<Batch>,
    /// A place for a large page, held until it was taken.
    large: Option<OwnedSemaphorePermit>,
}

enum Got {
    Batch(Batch),
    /// The page is over; how many messages are left.
    End {
        left: u64,
    },
}

impl Replay {
    pub(super) fn new(readings: Readings, key: RunKey, from: u64, up_to: u64) -> Self {
        let page = Page { bytes_max: limits::PAGE_BYTES_MIN, ..Page::default() };
        Self { readings, subject: subjects::log(key), next: from.max(1), up_to, inbox: None, page, lagging_since: None }
    }

    /// The next batch; none at the end of the log, which may have grown by the next call. After an error the next call goes on where
    /// this one stopped.
    ///
    /// # Errors
    /// `Unavailable` when the servers do not answer, or a follower does not get what its leader had.
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(batch) = self.page.batches.pop_front() {
                self.lagging_since = None;
                return Ok(Some(batch));
            }
            let left = self.read_page().await?;
            if left > 0 {
                self.page.bytes_max = (self.page.bytes_max * 4).min(limits::PAGE_BYTES_MAX);
            } else if !self.page.batches.is_empty() {
                continue;
            } else if self.next > self.up_to {
                return Ok(None);
            } else {
                self.wait_for_follower().await?;
            }
        }
    }

    /// Reads the next page whole, and answers how many messages are behind it. A reader that is slow to take it keeps nobody from
    /// theirs. Pages that many readers want at once come a few at a time.
    async fn read_page(&mut self) -> Result<u64> {
        self.page.large = None;
        let turn = timeout(limits::PAGE_TURN, Arc::clone(&self.readings.pages).acquire_owned()).await;
        let _turn = turn.map_err(|_| unavailable("too many readers wait for pages of logs"))?;
        let bytes_max = self.page_size();
        for _ in 0..limits::PAGE_TRIES {
            self.ask(bytes_max).await?;
            if let Some(left) = self.receive_page().await? {
                return Ok(left);
            }
        }
        if self.page.batches.is_empty() { Err(unavailable("a replay got no answer")) } else { Ok(1) }
    }

    async fn ask(&mut self, bytes_max: usize) -> Result<()> {
        let inbox = match &self.inbox {
            Some((inbox, _)) => inbox.clone(),
            None => {
                let inbox = self.readings.connection.client().new_inbox();
                let subscriber = self.readings.connection.subscribe(format!("{inbox}.*")).await?;
                self.inbox = Some((inbox.clone(), subscriber));
                inbox
            }
        };
        self.page.count += 1;
        let question = format!(
            r#"{{"seq":{},"batch":{},"max_bytes":{bytes_max},"next_by_subj":"{}"}}"#,
            self.next,
            limits::PAGE_MESSAGES,
            self.subject,
        );
        let api = format!("$JS.API.DIRECT.GET.{}", streams::LOG.name);
        self.readings.connection.send(api, Some(format!("{inbox}.{}", self.page.count)), Bytes::from(question)).await
    }

    /// Pages above the first size are few in the process; without a place for one this reading stays small.
    fn page_size(&mut self) -> usize {
        if self.page.bytes_max > limits::PAGE_BYTES_MIN {
            self.page.large = Arc::clone(&self.readings.large_pages).try_acquire_owned().ok();
        }
        if self.page.large.is_some() { self.page.bytes_max } else { limits::PAGE_BYTES_MIN }
    }

    /// Takes in what comes of a page up to its end. None when the server falls silent: what came is kept.
    async fn receive_page(&mut self) -> Result<Option<u64>> {
        let Some((_, subscriber)) = &mut self.inbox else { return Err(internal("a replay without its inbox")) };
        let page = self.page.count.to_string();
        loop {
            let Ok(message) = timeout(limits::REQUEST, subscriber.next()).await else { return Ok(None) };
            let message = message.ok_or_else(|| unavailable("the connection was closed"))?;
            if subjects::last_token(&message.subject) != page {
                continue;
            }
            match got(&message)? {
                Got::Batch(batch) => {
                    self.next = batch.tail.stream_seq + 1;
                    self.page.batches.push_back(batch);
                }
                Got::End { left } => return Ok(Some(left)),
            }
        }
    }

    async fn wait_for_follower(&mut self) -> Result<()> {
        let since = *self.lagging_since.get_or_insert_with(Instant::now);
        if since.elapsed() > limits::FOLLOWER {
            return Err(unavailable("the log's followers lag behind their leader"));
        }
        sleep(limits::FOLLOWER_PAUSE).await;
        Ok(())
    }
}

fn got(message: &Message) -> Result<Got> {
    match message.status.map(|status| status.as_u16()) {
        None => batch(message).map(Got::Batch),
        Some(END_OF_BATCH) => Ok(Got::End { left: number(message, pending()).unwrap_or(0) }),
        Some(NOTHING) => Ok(Got::End { left: 0 }),
        Some(status) => {
            Err(unavailable(format!("a replay was refused: {status} {}", message.description.clone().unwrap_or_default())))
        }
    }
}

const fn pending() -> header::HeaderName {
    header::HeaderName::from_static("Nats-Num-Pending")
}
