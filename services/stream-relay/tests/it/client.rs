//! A client of a relay that checks what it is sent: numbers without holes, chains that join, frames within their bound.

use prost::Message as _;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::id::RunId;
use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
use runmesh_domain::log::Position;
use runmesh_domain::principal::{LeaseClaim, Principal};
use runmesh_host::signed::{MeshKey, Signer};
use runmesh_wire::convert::snapshot;
use runmesh_wire::header;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::append_request::Message as Request;
use runmesh_wire::pb::stream::append_response::Message as Answer;
use runmesh_wire::pb::stream::attach_run_request::From;
use runmesh_wire::pb::stream::attach_run_response::Frame;
use runmesh_wire::pb::stream::attach_thread_request::From as FromOfThread;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::worker::Lease;
use runmesh_wire::{FromWire as _, IntoWire as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::world::soon;

/// Signs of life come every 15 s, so a stream that does nothing else never ends by itself.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Client {
    stub: StreamServiceClient<Channel>,
    signer: Signer,
    ttl: Duration,
}

/// Where to begin.
pub fn cursor(text: &str) -> Option<From> {
    Some(From::Cursor(text.to_owned()))
}

pub const START: Option<From> = Some(From::Start(pb::FromStart {}));
pub const LIVE: Option<From> = Some(From::Live(pb::FromLive {}));
pub const SNAPSHOT: Option<From> = None;

impl Client {
    pub async fn connect(address: SocketAddr, key: &MeshKey) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let stub = StreamServiceClient::new(channel).max_decoding_message_size(STREAM_MESSAGE_BYTES_MAX);
        Self { stub, signer: Signer::new(key, header::HOP_TYPE, header::AUDIENCE), ttl: Duration::from_secs(600) }
    }

    fn request<T>(&self, principal: &Principal, message: T) -> tonic::Request<T> {
        let token = self.signer.sign(principal, self.ttl).unwrap();
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert(header::PRINCIPAL, token.parse().unwrap());
        request
    }

    pub async fn try_attach(&self, who: &Principal, run: &str, from: Option<From>) -> Result<Viewer, Status> {
        let request = self.request(who, pb::AttachRunRequest { run_id: run.to_owned(), from });
        let frames = soon(self.stub.clone().attach_run(request)).await?.into_inner();
        Ok(Viewer { frames, seen: Seen::default() })
    }

    pub async fn attach(&self, who: &Principal, run: RunId, from: Option<From>) -> Viewer {
        self.try_attach(who, &run.to_string(), from).await.unwrap()
    }

    /// With credentials that end so soon.
    pub fn for_only(&self, ttl: Duration) -> Self {
        Self { ttl, ..self.clone() }
    }

    pub async fn attach_thread(
        &self,
        who: &Principal,
        thread: &str,
        from: Option<FromOfThread>,
    ) -> Result<Streaming<pb::AttachThreadResponse>, Status> {
        let request = self.request(who, pb::AttachThreadRequest { thread_id: thread.to_owned(), from });
        Ok(soon(self.stub.clone().attach_thread(request)).await?.into_inner())
    }

    /// An append stream under a token, of which nothing was said yet.
    pub async fn append_as(&self, who: &Principal) -> Result<Appender, Status> {
        let (requests, stream) = mpsc::channel(64);
        let request = self.request(who, ReceiverStream::new(stream));
        let answers = soon(self.stub.clone().append(request)).await?.into_inner();
        Ok(Appender { requests, answers, next: 1 })
    }

    /// An append stream that has started.
    pub async fn append(&self, claim: LeaseClaim) -> (Appender, pb::AppendStarted) {
        self.append_after(claim, Position::default()).await
    }

    /// The same of an attempt that knows how far the log reached.
    pub async fn append_after(&self, claim: LeaseClaim, acked: Position) -> (Appender, pb::AppendStarted) {
        let mut appender = self.append_as(&Principal::Lease(claim)).await.unwrap();
        appender.open_after(claim.run, claim.fence, acked).await;
        match appender.answer().await.unwrap().unwrap() {
            Answer::Started(started) => {
                appender.next = started.number + 1;
                (appender, started)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What a viewer has put together.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub view: RunView,
    /// Every event since the last snapshot or reset.
    pub events: Vec<Event>,
    pub cursor: String,
    pub statuses: Vec<pb::Status>,
    pub resets: Vec<pb::reset::Reason>,
    pub from_database: bool,
    pub end: Option<pb::End>,
}

pub struct Viewer {
    pub frames: Streaming<pb::AttachRunResponse>,
    pub seen: Seen,
}

impl Viewer {
    /// Begins where another left off, as a client that came back does.
    pub fn going_on(mut self, seen: Seen) -> Self {
        self.seen = Seen { end: None, ..seen };
        self
    }

    /// The next frame, checked and taken in; none at the end of the stream.
    pub async fn frame(&mut self) -> Option<Frame> {
        let message = soon(self.frames.message()).await.unwrap()?;
        assert!(message.encoded_len() <= STREAM_MESSAGE_BYTES_MAX);
        let frame = message.frame.unwrap();
        self.take(frame.clone());
        Some(frame)
    }

    fn take(&mut self, frame: Frame) {
        let seen = &mut self.seen;
        assert_eq!(seen.end, None, "a frame after the end");
        match frame {
            Frame::Snapshot(part) => {
                if part.complete {
                    seen.cursor.clone_from(&part.cursor);
                    seen.from_database = part.from_database;
                    seen.events.clear();
                }
                snapshot::add(&mut seen.view, part).unwrap();
            }
            Frame::Events(events) => take_events(seen, events),
            Frame::Status(status) => seen.statuses.push(status),
            Frame::Progress(_) => {}
            Frame::Reset(reset) => {
                seen.resets.push(reset.reason());
                seen.view = RunView::default();
                seen.events.clear();
            }
            Frame::End(end) => {
                seen.cursor.clone_from(&end.cursor);
                seen.end = Some(end);
            }
        }
    }

    /// Reads until `is_enough` of what was seen.
    pub async fn until(&mut self, is_enough: impl Fn(&Seen) -> bool) -> &Seen {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(&self.seen) {
            assert!(Instant::now() < deadline, "not in time: {:?}", self.seen);
            assert!(self.frame().await.is_some(), "the stream ended early: {:?}", self.seen);
        }
        &self.seen
    }

    /// Reads to the end of the stream, which must be said.
    #[expect(clippy::wrong_self_convention, reason = "it reads the whole stream, so it takes it")]
    pub async fn to_end(mut self) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        while self.frame().await.is_some() {
            assert!(Instant::now() < deadline, "the stream does not end: {:?}", self.seen);
        }
        assert!(self.seen.end.is_some(), "the stream ended without End: {:?}", self.seen);
        self.seen
    }
}

fn take_events(seen: &mut Seen, frame: pb::Events) {
    let pb::Events { first_seq, chain_before, chain_after, events, cursor } = frame;
    // A viewer that begins live holds nothing yet.
    if !seen.cursor.is_empty() || seen.view.seq > 0 || first_seq == 1 {
        assert_eq!(first_seq, i64::try_from(seen.view.seq).unwrap() + 1, "a hole or a repeat");
        assert_eq!(chain_before, seen.view.chain.0, "the chain does not join");
    }
    assert!(!events.is_empty());
    let first = u64::try_from(first_seq).unwrap();
    for (number, event) in (first..).zip(events) {
        let event: Event = event.from_wire("").unwrap();
        let chain = runmesh_domain::chain::Chain(chain_after);
        seen.view.take(number, chain, &event);
        seen.events.push(event);
    }
    let at: Cursor = cursor.parse().unwrap();
    assert_eq!((at.seq, at.chain.0), (seen.view.seq, chain_after));
    seen.cursor = cursor;
}

pub struct Appender {
    pub requests: mpsc::Sender<pb::AppendRequest>,
    pub answers: Streaming<pb::AppendResponse>,
    pub next: i64,
}

impl Appender {
    pub async fn open(&self, run: RunId, fence: u64) {
        self.open_after(run, fence, Position::default()).await;
    }

    async fn open_after(&self, run: RunId, fence: u64, acked: Position) {
        let lease = Some(Lease { run_id: run.to_string(), fence: i64::try_from(fence).unwrap() });
        let acked = (acked != Position::default()).then(|| acked.into_wire());
        self.say(Request::Open(pb::AppendOpen { lease, acked })).await;
    }

    pub async fn say(&self, message: Request) {
        soon(self.requests.send(pb::AppendRequest { message: Some(message) })).await.unwrap();
    }

    /// Sends events under the next numbers.
    pub async fn send(&mut self, events: Vec<pb::RunEvent>) {
        let first_number = self.next;
        self.next += i64::try_from(events.len()).unwrap();
        self.say(Request::Events(pb::AppendEvents { first_number, events })).await;
    }

    pub async fn answer(&mut self) -> Result<Option<Answer>, Status> {
        Ok(soon(self.answers.message()).await?.map(|answer| answer.message.unwrap()))
    }

    /// Reads acks until everything sent is in the log; answers the last.
    pub async fn settled(&mut self) -> pb::AppendAck {
        loop {
            match self.answer().await.unwrap().unwrap() {
                Answer::Ack(ack) if ack.number == self.next - 1 => return ack,
                Answer::Ack(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn event(kind: pb::run_event::Kind) -> pb::RunEvent {
    pb::RunEvent { kind: Some(kind) }
}

pub fn step_started(step_index: i32) -> pb::RunEvent {
    event(pb::run_event::Kind::StepStarted(pb::StepStarted { step_index, model: "m".into(), path: String::new() }))
}

pub fn text(step_index: i32, text: impl Into<String>) -> pb::RunEvent {
    event(pb::run_event::Kind::TextDelta(pb::TextDelta { step_index, text: text.into(), path: String::new() }))
}

pub fn step_finished(step_index: i32, parts: Vec<runmesh_wire::pb::thread::Part>) -> pb::RunEvent {
    event(pb::run_event::Kind::StepFinished(pb::StepFinished { step_index, parts, usage: None, path: String::new() }))
}

pub fn run_finished() -> pb::RunEvent {
    event(pb::run_event::Kind::RunFinished(pb::RunFinished::default()))
}
