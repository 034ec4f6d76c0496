//! JetStream's API, as far as this crate asks it itself.

use crate::connection::Connection;
use crate::fault::{internal, unavailable};
use crate::limits;
use crate::settings::Settings;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use runmesh_domain::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// "No message found".
const NO_MESSAGE: u64 = 10_037;
/// "Stream not found".
const NO_STREAM: u64 = 10_059;
/// "Stream name already in use with a different configuration".
const NAME_IN_USE: u64 = 10_058;

/// An error of the API.
#[derive(Debug, Deserialize)]
pub struct ApiError {
    /// Much as in HTTP.
    #[serde(default)]
    pub code: u64,
    /// What exactly.
    #[serde(default)]
    pub err_code: u64,
    /// In words.
    #[serde(default)]
    pub description: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code: _, err_code, description } = self;
        write!(f, "{description} ({err_code})")
    }
}

impl ApiError {
    /// Whether the same may succeed a little later: leaders are being elected, say.
    pub const fn is_passing(&self) -> bool {
        self.code == 503
    }

    /// Whether somebody else made a stream of that name.
    pub const fn is_name_in_use(&self) -> bool {
        self.err_code == NAME_IN_USE
    }
}

/// A stream as its server describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamInfo {
    /// Its settings.
    pub config: Settings,
    /// What it holds.
    pub state: StreamState,
    /// Where it is; absent at a server without a cluster.
    #[serde(default)]
    pub cluster: Option<ClusterInfo>,
}

/// What a stream holds.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamState {
    /// Messages.
    #[serde(default)]
    pub messages: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The sequence of the last message that was ever stored.
    #[serde(default)]
    pub last_seq: u64,
}

/// Where a stream is.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterInfo {
    /// The server that leads it; absent while none does.
    #[serde(default)]
    pub leader: Option<String>,
    /// The other servers that hold it.
    #[serde(default)]
    pub replicas: Vec<PeerInfo>,
}

/// A server that holds a stream and does not lead it.
#[derive(Debug, Clone, Deserialize)]
pub struct PeerInfo {
    /// Whether it has what the leader has.
    #[serde(default)]
    pub current: bool,
    /// Whether it has been silent for a while.
    #[serde(default)]
    pub offline: bool,
}

#[derive(Deserialize)]
struct Names {
    streams: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct GetAnswer {
    message: Option<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
    #[serde(default)]
    data: String,
}

/// Asks the API; the inner error is its refusal.
async fn call<T: DeserializeOwned>(
    connection: &Connection,
    subject: String,
    question: Value,
    within: Duration,
) -> Result<Result<T, ApiError>> {
    let payload = if question.is_null() { Bytes::new() } else { Bytes::from(question.to_string()) };
    let answer = connection.ask(subject.clone(), payload, within).await?;
    let unread = |error| internal(format!("the answer of {subject}: {error}"));
    let mut answer: Value = serde_json::from_slice(&answer.payload).map_err(unread)?;
    match answer.get_mut("error").map(Value::take) {
        Some(error) => Ok(Err(serde_json::from_value(error).map_err(unread)?)),
        None => Ok(Ok(serde_json::from_value(answer).map_err(unread)?)),
    }
}

fn refused(stream: &str) -> impl FnOnce(ApiError) -> runmesh_domain::Error {
    move |error| unavailable(format!("{stream}: {error}"))
}

/// The stream, as its leader describes it; none when there is no such stream.
pub async fn info(connection: &Connection, stream: &str, within: Duration) -> Result<Option<StreamInfo>> {
    match call(connection, format!("$JS.API.STREAM.INFO.{stream}"), Value::Null, within).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.err_code == NO_STREAM => Ok(None),
        Err(error) => Err(refused(stream)(error)),
    }
}

/// Whether no stream stores `subjects`, by the word of who leads all streams: the leader of the stream itself may be away.
pub async fn is_missing(connection: &Connection, subjects: &str) -> Result<bool> {
    let question = json!({"subject": subjects});
    let answer = call::<Names>(connection, "$JS.API.STREAM.NAMES".to_owned(), question, limits::LOOK).await?;
    Ok(answer.map_err(refused("streams"))?.streams.is_none_or(|streams| streams.is_empty()))
}

/// Makes a stream. One that is there and has these very settings is well.
pub async fn create(connection: &Connection, stream: &str, settings: &Settings) -> Result<Result<StreamInfo, ApiError>> {
    call(connection, format!("$JS.API.STREAM.CREATE.{stream}"), json!(settings), limits::STREAM_CHANGE).await
}

/// Gives a stream other settings.
pub async fn update(connection: &Connection, stream: &str, settings: &Settings) -> Result<Result<StreamInfo, ApiError>> {
    call(connection, format!("$JS.API.STREAM.UPDATE.{stream}"), json!(settings), limits::STREAM_CHANGE).await
}

/// The sequence of the last message that was ever stored in `stream`.
pub async fn last_seq_of(connection: &Connection, stream: &str) -> Result<u64> {
    let info = info(connection, stream, limits::REQUEST).await?;
    info.map(|info| info.state.last_seq).ok_or_else(|| unavailable(format!("stream {stream} is missing")))
}

/// The last message of `subject` as the stream's leader has it: its sequence and its payload.
pub async fn last_of(connection: &Connection, stream: &str, subject: &str) -> Result<Option<(u64, Vec<u8>)>> {
    let api = format!("$JS.API.STREAM.MSG.GET.{stream}");
    match call::<GetAnswer>(connection, api, json!({"last_by_subj": subject}), limits::REQUEST).await? {
        Err(error) if error.err_code == NO_MESSAGE => Ok(None),
        Err(error) => {
            if error.err_code == NO_STREAM {
                connection.stream_is_missing().await;
            }
            Err(refused(stream)(error))
        }
        Ok(GetAnswer { message: Some(stored) }) => {
            let payload = STANDARD.decode(stored.data).map_err(|error| internal(format!("payload of {stream}: {error}")))?;
            Ok(Some((stored.seq, payload)))
        }
        Ok(GetAnswer { message: None }) => Err(internal(format!("{stream} answered neither a message nor an error"))),
    }
}
