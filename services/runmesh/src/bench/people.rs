//! The people of the bench: each with a token, speaking to one gateway and listening at the other.

use super::failed;
use super::plan::PEOPLE;
use super::processes::{Fleet, KEY, orgs};
use super::stream::Watch;
use crate::failure::Failure;
use crate::token;
use runmesh_client::{Client, Options, Org, Paging};
use runmesh_domain::id::UserId;
use runmesh_host::signed::MeshKey;
use runmesh_wire::pb::org::member::Role;
use runmesh_wire::pb::run::run_service_client::RunServiceClient;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::thread::thread_service_client::ThreadServiceClient;
use runmesh_wire::pb::{run, stream, thread};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Connections to each gateway that all people share: more would measure connections.
const CONNECTIONS: usize = 4;
/// Longer than any bench.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

type Calls = InterceptedService<Channel, Bearer>;

/// Adds a person's token.
#[derive(Debug, Clone)]
struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Somebody who sends messages through the first gateway and follows runs through the second.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Their org.
    pub(super) org: String,
    bearer: Bearer,
    runs: RunServiceClient<Calls>,
    threads: ThreadServiceClient<Calls>,
    streams: StreamServiceClient<Calls>,
}

/// A message that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The run that answers it.
    pub(super) run: String,
    /// Before its first event.
    pub(super) cursor: String,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct People {
    /// Neighbours belong to different orgs.
    pub(super) all: Vec<Person>,
    /// The admin of the first org, at each gateway.
    pub(super) admins: Vec<Client>,
}

impl People {
    /// Waits for the mesh, and makes everybody a member of their org.
    pub(super) async fn invite(fleet: &mut Fleet) -> Result<Self, Failure> {
        let key = MeshKey::from_hex(KEY).map_err(|error| failed("key", error))?;
        let names = orgs();
        let admin = token::issue(&key, "you", &names, TOKEN_TTL)?;
        let (here, there) = (connections(&fleet.gateway(0))?, connections(&fleet.gateway(1))?);
        let mut all = Vec::with_capacity(PEOPLE);
        let mut admins = Vec::new();
        for (number, org) in names.iter().enumerate() {
            let client = admin_of(&fleet.gateway(number % 2), &admin, org)?;
            fleet.until("the mesh", || ready(client.clone())).await?;
            admins.push(client);
        }
        for number in 0..PEOPLE {
            let subject = format!("u{number}");
            let org = &names[number % names.len()];
            let member = UserId::of_subject(token::DEV_ISSUER, &subject);
            let put = admins[number % names.len()].put_member(member, Role::Member).await;
            put.map_err(|error| failed("put member", error))?;
            let bearer = format!("Bearer {}", token::issue(&key, &subject, std::slice::from_ref(org), TOKEN_TTL)?);
            let bearer = Bearer(bearer.parse().map_err(|error| failed("token", error))?);
            let calls = |channels: &[Channel]| InterceptedService::new(channels[number % CONNECTIONS].clone(), bearer.clone());
            all.push(Person {
                org: org.clone(),
                bearer: bearer.clone(),
                runs: RunServiceClient::new(calls(&here)),
                threads: ThreadServiceClient::new(calls(&here)),
                streams: StreamServiceClient::new(calls(&there)).max_decoding_message_size(64 << 20),
            });
        }
        let admins = vec![admin_of(&fleet.gateway(0), &admin, &names[0])?, admin_of(&fleet.gateway(1), &admin, &names[0])?];
        Ok(Self { all, admins })
    }
}

impl Person {
    /// The same person, who listens over a connection of their own and takes little at a time: what they do not read holds up nobody
    /// of the bench.
    pub(super) fn apart(&self, gateway: &str) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(gateway.to_owned()).map_err(|error| failed("gateway", error))?;
        let channel = endpoint.tcp_nodelay(true).initial_stream_window_size(1 << 16).connect_lazy();
        let calls = InterceptedService::new(channel, self.bearer.clone());
        let streams = StreamServiceClient::new(calls).max_decoding_message_size(64 << 20);
        Ok(Self { streams, ..self.clone() })
    }

    /// A new thread.
    pub(super) async fn thread(&mut self) -> Result<String, Failure> {
        let message = thread::CreateThreadRequest { idempotency_key: key(), agent: "default".into(), title: String::new() };
        let answer = self.threads.create_thread(message).await.map_err(|status| failed("create thread", status))?;
        let made = answer.into_inner().thread.ok_or_else(|| failed("create thread", "no thread in the answer"))?;
        Ok(made.thread_id)
    }

    /// As many new threads.
    pub(super) async fn make_threads(&mut self, count: usize) -> Result<Vec<String>, Failure> {
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            threads.push(self.thread().await?);
        }
        Ok(threads)
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, thread: &str, text: &str) -> Result<Sent, Failure> {
        let part = thread::Part { content: Some(thread::part::Content::Text(thread::TextPart { text: text.to_owned() })) };
        let message =
            run::SendMessageRequest { idempotency_key: key(), thread_id: thread.to_owned(), parts: vec![part], on_busy: 0 };
        let answer = self.runs.send_message(message).await.map_err(|status| failed("send message", status))?;
        let run::SendMessageResponse { run_id, cursor, .. } = answer.into_inner();
        Ok(Sent { run: run_id, cursor })
    }

    /// Attaches to a run before its first event.
    pub(super) async fn watch(&mut self, sent: &Sent) -> Result<Watch, Failure> {
        self.attach(&sent.run, stream::attach_run_request::From::Cursor(sent.cursor.clone())).await
    }

    /// Attaches to a thread. Its stream has begun when this returns.
    pub(super) async fn attach_thread(&mut self, thread: &str) -> Result<Streaming<stream::AttachThreadResponse>, Failure> {
        let message = stream::AttachThreadRequest { thread_id: thread.to_owned(), from: None };
        let answer = self.streams.attach_thread(message).await.map_err(|status| failed("attach", status))?;
        let mut frames = answer.into_inner();
        let first = frames.message().await.map_err(|status| failed("attach", status))?;
        first.map(|_| frames).ok_or_else(|| failed("attach", "the stream ended at once"))
    }

    /// Attaches to a run.
    pub(super) async fn attach(&mut self, run: &str, from: stream::attach_run_request::From) -> Result<Watch, Failure> {
        let message = stream::AttachRunRequest { run_id: run.to_owned(), from: Some(from) };
        let answer = self.streams.attach_run(message).await.map_err(|status| failed("attach", status))?;
        Ok(Watch::new(answer.into_inner()))
    }
}

/// Both workers are known, and every service answers.
async fn ready(client: Client) -> Option<()> {
    client.get_org().await.ok()?;
    client.get_summary(1).await.ok()?;
    client.list_pending_actions(Paging::default()).await.ok()?;
    (client.list_workers(10).await.ok()?.len() >= 2).then_some(())
}

fn admin_of(gateway: &str, token: &str, org: &str) -> Result<Client, Failure> {
    let options = Options { token: Some(token.to_owned()), org: Some(Org::from(org)), ..Options::default() };
    Client::connect(gateway, options).map_err(|error| failed("client", error))
}

fn connections(gateway: &str) -> Result<Vec<Channel>, Failure> {
    let endpoint = Endpoint::from_shared(gateway.to_owned()).map_err(|error| failed("gateway", error))?;
    let endpoint = endpoint.tcp_nodelay(true).initial_stream_window_size(1 << 20).initial_connection_window_size(16 << 20);
    Ok((0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect())
}

fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}
