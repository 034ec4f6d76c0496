//! A private server, ids, batches, and waiting for things.

use runmesh_bus::{Batch, Bus, BusConfig, PublishOutcome, RunKey};
use runmesh_domain::Timestamp;
use runmesh_domain::event::Event;
use runmesh_domain::id::{AgentId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::log::{Journal, Known, Position, Tail};
use runmesh_domain::run::{RunIds, StateName};
use runmesh_domain::transition::{Cause, Record, Transition};
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
use std::future::Future;
use std::time::Duration;
use uuid::Uuid;

/// A server of its own for one test, and a bus on it.
pub struct World {
    pub nats: NatsServer,
    pub bus: Bus,
}

impl World {
    pub async fn start() -> Self {
        let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
        let bus = connect(&nats).await;
        bus.ensure().await.unwrap();
        Self { nats, bus }
    }

    /// Another process's bus on the same server.
    pub async fn another(&self) -> Bus {
        connect(&self.nats).await
    }
}

async fn connect(nats: &NatsServer) -> Bus {
    Bus::connect(BusConfig::new(nats.url(), "test")).await.unwrap()
}

pub fn ids() -> RunIds {
    RunIds {
        id: RunId::from_uuid(Uuid::now_v7()),
        org: OrgId::of_name("test"),
        thread: ThreadId::from_uuid(Uuid::now_v7()),
        user: UserId::of_subject("test", "ann"),
        agent: AgentId::from_uuid(Uuid::from_u128(1)),
        agent_version: 1,
    }
}

pub fn key() -> RunKey {
    RunKey::from(ids())
}

/// Event bytes that only their number tells apart; the bus looks into none of them.
pub fn words(number: u64) -> Vec<u8> {
    format!("event {number}").into_bytes()
}

/// The next batch of an open attempt after `tail`.
pub fn next_batch(key: RunKey, tail: &Tail, events: Vec<Vec<u8>>) -> Batch {
    let events: Vec<bytes::Bytes> = events.into_iter().map(Into::into).collect();
    let number = tail.number + events.len() as u64;
    Batch::after(key.run, Tail { number, fence: 1, version: 2, open: true, ..*tail }, events)
}

/// Appends and moves the tail on; the publish must succeed.
pub async fn append(bus: &Bus, key: RunKey, tail: &Tail, events: Vec<Vec<u8>>) -> Tail {
    let batch = next_batch(key, tail, events);
    match bus.log().publish(key, &batch, tail.stream_seq).await.unwrap() {
        PublishOutcome::Stored { stream_seq } => Tail { stream_seq, ..batch.tail },
        other => panic!("{other:?}"),
    }
}

/// What Postgres says of a run without a step.
pub const fn known(position: Position, transitions: &[(Transition, bool)]) -> Known<'_> {
    Known { position, journal: Journal { last_step: 0, steps: &[], is_whole: true }, transitions }
}

/// Accepted, then claimed, then lost and claimed again, and so on, up to `version`.
pub fn transitions(ids: &RunIds, version: u64) -> Vec<(Transition, bool)> {
    (1..=version).map(|version| (transition(ids, version), false)).collect()
}

fn transition(ids: &RunIds, version: u64) -> Transition {
    let claimed = version.is_multiple_of(2);
    let session = claimed.then(|| SessionId::from_uuid(Uuid::from_u128(u128::from(version))));
    let (to, cause, record) = match (version, claimed) {
        (1, _) => (StateName::Ready, Cause::Accepted, Record::Quiet),
        (_, true) => (StateName::Running, Cause::Claimed, Record::AttemptStarted),
        (_, false) => (StateName::Ready, Cause::LeaseLost, Record::Quiet),
    };
    let from = (version > 1).then_some(if claimed { StateName::Ready } else { StateName::Running });
    let at = Timestamp::from_micros(1_000);
    Transition {
        run: ids.id,
        version,
        from,
        to,
        cause,
        fence: version - 1,
        session,
        actor: runmesh_domain::actor::Actor::System,
        at,
        record,
    }
}

/// The events that the log shows, decoded.
pub fn shown(batches: &[Batch]) -> Vec<Event> {
    use runmesh_wire::FromWire as _;
    use runmesh_wire::pb::stream::RunEvent;
    let events = batches.iter().flat_map(|batch| &batch.events);
    events.map(|bytes| <RunEvent as prost::Message>::decode(bytes.as_ref()).unwrap().from_wire("").unwrap()).collect()
}

/// Everything the log holds.
pub async fn read_all(bus: &Bus, key: RunKey) -> Vec<Batch> {
    let tail = bus.log().tail(key).await.unwrap();
    let mut replay = bus.log().replay(key, 0, tail.stream_seq);
    let mut batches = Vec::new();
    while let Some(batch) = replay.next().await.unwrap() {
        batches.push(batch);
    }
    batches
}

/// Polls until `attempt` gives something; panics naming `what` after half a minute.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl FnMut() -> F) -> T {
    runmesh_testkit::until(what, Duration::from_secs(30), attempt).await
}

/// Waits at most ten seconds.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.unwrap()
}
