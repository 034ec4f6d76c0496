//! A mesh for one worker: hands out prepared assignments, journals what it is told, keeps one run log, and misbehaves on
//! demand. It checks what the real mesh would refuse: fences, numbers of events, and the order of the journal.

mod stream;
mod worker;

pub use stream::SIGN;

use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::stream::stream_service_server::StreamServiceServer;
use runmesh_wire::pb::worker as pb;
use runmesh_wire::pb::worker::worker_service_server::WorkerServiceServer;
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;

/// What the mesh was told and how it behaves.
#[derive(Debug)]
pub struct State {
    /// Assignments not handed out yet.
    pub assignments: Vec<pb::Assignment>,
    /// Later pages of contexts, by their tokens.
    pub pages: HashMap<String, pb::RunContext>,
    /// Every hello, in order.
    pub hellos: Vec<pb::Hello>,
    pub credits: i32,
    pub acks: Vec<pb::Lease>,
    pub heartbeats: Vec<pb::HeartbeatRequest>,
    /// Every entry journaled, one list for each RecordStep.
    pub recorded: Vec<Vec<pb::journal_entry::Entry>>,
    pub finishes: Vec<pb::FinishRequest>,
    pub releases: Vec<pb::ReleaseRequest>,
    /// Metadata of the latest RecordStep or Finish: authorization and traceparent.
    pub metadata: (String, String),
    /// The log: the attempt's events.
    pub log: Vec<Event>,
    /// Everything that was ever in the log, a lost log's events included.
    pub ever: Vec<Event>,
    pub append_streams: usize,
    /// Where each of them said that the log had ended.
    pub opened_after: Vec<i64>,

    /// Tools that the policy denies.
    pub denied: HashSet<String>,
    /// Runs to cancel, said in heartbeats.
    pub cancel: HashSet<String>,
    /// Heartbeats answer LOST for sessions opened before this one.
    pub lost_sessions: usize,
    /// Heartbeats do not answer.
    pub mute: bool,
    /// The Claim stream drains and hands this out after so many hellos, however few credits there are.
    pub drain: Option<(usize, pb::Assignment)>,
    /// RecordStep and Finish answer FENCED.
    pub fenced: bool,
    /// How many calls of RecordStep and Finish answer UNAVAILABLE.
    pub outages: usize,
    /// How many calls of Finish are refused for a bad field.
    pub refused_finishes: usize,
    /// RecordStep is refused for a bad field.
    pub refuse_steps: bool,
    /// Append answers UNAVAILABLE.
    pub log_away: bool,
    /// The next append stream breaks once it took this many events.
    pub break_after: Option<usize>,
    /// The next append stream stands still once the log has this many events: it stays open, takes nothing and answers nothing.
    pub still_after: Option<usize>,
    /// From now on append streams take nothing and repeat their last ack.
    pub slow_log: bool,
    /// How often they did.
    pub signs: usize,
    /// What the first answer on append streams names as open.
    pub open_steps: Vec<i32>,
    pub open_calls: Vec<(i32, i32)>,
    pub lease: Duration,
    pub heartbeat: Duration,
}

impl Default for State {
    fn default() -> Self {
        Self {
            assignments: Vec::new(),
            pages: HashMap::new(),
            hellos: Vec::new(),
            credits: 0,
            acks: Vec::new(),
            heartbeats: Vec::new(),
            recorded: Vec::new(),
            finishes: Vec::new(),
            releases: Vec::new(),
            metadata: Default::default(),
            log: Vec::new(),
            ever: Vec::new(),
            append_streams: 0,
            opened_after: Vec::new(),
            denied: HashSet::new(),
            cancel: HashSet::new(),
            lost_sessions: 0,
            mute: false,
            drain: None,
            fenced: false,
            outages: 0,
            refused_finishes: 0,
            refuse_steps: false,
            log_away: false,
            break_after: None,
            still_after: None,
            slow_log: false,
            signs: 0,
            open_steps: Vec::new(),
            open_calls: Vec::new(),
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_millis(50),
        }
    }
}

impl State {
    /// What a follower of the log sees.
    pub fn view(&self) -> RunView {
        let mut view = RunView::default();
        self.log.iter().for_each(|event| view.apply(event));
        view
    }

    /// Every entry journaled, in order.
    pub fn entries(&self) -> Vec<&pb::journal_entry::Entry> {
        self.recorded.iter().flatten().collect()
    }

    fn add(&mut self, event: runmesh_wire::pb::stream::RunEvent) {
        let event: Event = event.from_wire("event").unwrap();
        assert!(!event.is_transition(), "a worker wrote {event:?}");
        self.log.push(event.clone());
        self.ever.push(event);
    }
}

/// A running fake mesh.
pub struct FakeMesh {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

impl FakeMesh {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let services = tonic::transport::Server::builder()
            .add_service(
                // What every hop of the real mesh takes in one message.
                WorkerServiceServer::new(worker::Service(Arc::clone(&state))).max_decoding_message_size(STREAM_MESSAGE_BYTES_MAX),
            )
            .add_service(StreamServiceServer::new(stream::Service(Arc::clone(&state))));
        let serve = async move { services.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() };
        Self { address, state, _server: AbortOnDropHandle::new(tokio::spawn(serve)) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until the state is as wanted, and says what it was waiting for when it never is.
    pub async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        until(&self.state, what, wanted).await;
    }

    /// Waits for the end of a run.
    pub async fn finished(&self) -> pb::FinishRequest {
        self.until("the run is finished", |state| !state.finishes.is_empty()).await;
        self.state().finishes[0].clone()
    }
}

/// Polls the state until it is as wanted, for fifteen seconds at most.
async fn until(state: &Mutex<State>, what: &str, wanted: impl Fn(&State) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !wanted(&state.lock().unwrap()) {
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "waited in vain until {what}: {:#?}", state.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
