//! Publishing onto the tail that was decided for, and onto no other.

use crate::api::ApiError;
use crate::connection::{Connection, LOST, NoAnswer};
use crate::fault::{internal, unavailable};
use async_nats::{HeaderMap, Message, header};
use bytes::Bytes;
use runmesh_domain::Result;
use serde::Deserialize;

/// What became of a publish. Everything but `Stored` means: read the tail and decide again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is in the stream.
    Stored {
        /// Under this sequence.
        stream_seq: u64,
    },
    /// The subject's tail was another one, or the server was busy with another publish of the subject.
    Conflict,
    /// The ack did not come: it may be in the stream.
    Unknown,
}

/// Wrong last sequence, with and without a number; a message of this id is just being stored.
const CONFLICTS: [u64; 3] = [10_071, 10_164, 10_158];

#[derive(Deserialize)]
struct Ack {
    error: Option<ApiError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// Publishes when the last message of `subject` is `expected` (0: when there is none).
pub async fn onto(
    connection: &Connection,
    subject: String,
    expected: u64,
    message_id: Option<&str>,
    payload: Vec<u8>,
) -> Result<PublishOutcome> {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    if let Some(id) = message_id {
        headers.insert(header::NATS_MESSAGE_ID, id);
    }
    match connection.request(subject, Some(headers), Bytes::from(payload)).await {
        Ok(message) => outcome(&message),
        Err(NoAnswer::Unknown(detail)) => {
            tracing::debug!(detail, "a publish has no ack");
            Ok(PublishOutcome::Unknown)
        }
        Err(NoAnswer::Lost) => {
            tracing::debug!(detail = LOST, "a publish has no ack");
            Ok(PublishOutcome::Unknown)
        }
        Err(no) => {
            // Nobody listens to the subject: its stream is missing, or its server is just starting.
            connection.stream_is_missing().await;
            Err(no.into())
        }
    }
}

fn outcome(message: &Message) -> Result<PublishOutcome> {
    let ack: Ack = serde_json::from_slice(&message.payload).map_err(|error| internal(format!("ack: {error}")))?;
    match ack.error {
        // A duplicate is an earlier message of that id, which may not be the tail any more.
        None if ack.duplicate => Ok(PublishOutcome::Conflict),
        None => Ok(PublishOutcome::Stored { stream_seq: ack.seq }),
        Some(error) if CONFLICTS.contains(&error.err_code) => Ok(PublishOutcome::Conflict),
        Some(error) if error.code == 400 => Err(internal(format!("publish refused: {} ({})", error.description, error.err_code))),
        Some(error) => Err(unavailable(format!("publish refused: {} ({})", error.description, error.err_code))),
    }
}
