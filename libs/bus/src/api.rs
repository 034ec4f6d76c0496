//! The answers of JetStream's API that this crate reads itself.

use crate::connection::Connection;
use crate::fault::{internal, unavailable};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use runmesh_domain::Result;
use serde::Deserialize;

/// "No message found".
const NO_MESSAGE: u64 = 10_037;
/// "Stream not found".
const NO_STREAM: u64 = 10_059;

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

#[derive(Deserialize)]
struct GetAnswer {
    error: Option<ApiError>,
    message: Option<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct InfoAnswer {
    error: Option<ApiError>,
    state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    last_seq: u64,
}

/// The sequence of the last message that was ever stored in `stream`.
pub async fn last_seq_of(connection: &Connection, stream: &str) -> Result<u64> {
    let answer = connection.request(format!("$JS.API.STREAM.INFO.{stream}"), None, Bytes::new()).await?;
    let answer: InfoAnswer =
        serde_json::from_slice(&answer.payload).map_err(|error| internal(format!("answer of {stream}: {error}")))?;
    match (answer.error, answer.state) {
        (None, Some(State { last_seq })) => Ok(last_seq),
        (Some(error), _) => Err(unavailable(format!("{stream}: {} ({})", error.description, error.err_code))),
        (None, None) => Err(internal(format!("{stream} answered neither a state nor an error"))),
    }
}

/// The last message of `subject` as the stream's leader has it: its sequence and its payload.
pub async fn last_of(connection: &Connection, stream: &str, subject: &str) -> Result<Option<(u64, Vec<u8>)>> {
    let question = format!(r#"{{"last_by_subj":"{subject}"}}"#);
    let api = format!("$JS.API.STREAM.MSG.GET.{stream}");
    let answer = connection.request(api, None, Bytes::from(question)).await?;
    let answer: GetAnswer =
        serde_json::from_slice(&answer.payload).map_err(|error| internal(format!("answer of {stream}: {error}")))?;
    match (answer.error, answer.message) {
        (Some(error), _) if error.err_code == NO_MESSAGE => Ok(None),
        (Some(error), _) => {
            if error.err_code == NO_STREAM {
                connection.stream_is_missing().await;
            }
            Err(unavailable(format!("{stream}: {} ({})", error.description, error.err_code)))
        }
        (None, Some(stored)) => {
            let payload = STANDARD.decode(stored.data).map_err(|error| internal(format!("payload of {stream}: {error}")))?;
            Ok(Some((stored.seq, payload)))
        }
        (None, None) => Err(internal(format!("{stream} answered neither a message nor an error"))),
    }
}
