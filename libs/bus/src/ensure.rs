//! Creates or updates the streams, and reads back what the server made of them: old servers drop settings in silence.

use crate::config::BusConfig;
use crate::fault::{internal, unavailable};
use crate::limits;
use crate::streams::STREAMS;
use async_nats::Client;
use async_nats::jetstream::{self, stream::Config};
use runmesh_domain::Result;
use tokio::time::timeout;

/// Every stream of the table, as the table says. Any number of replicas may do this at once.
pub async fn streams(client: &Client, chosen: &BusConfig) -> Result<()> {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(limits::REQUEST);
    for spec in STREAMS {
        let wanted = spec.config(chosen);
        let apply = context.create_or_update_stream(wanted.clone());
        let answer = timeout(limits::REQUEST * 2, apply).await.map_err(|_| unavailable("creating a stream timed out"))?;
        let made = answer.map_err(|error| unavailable(format!("stream {}: {error}", spec.name)))?;
        check(&wanted, &made.config)?;
        tracing::debug!(stream = spec.name, messages = made.state.messages, "stream is ready");
    }
    Ok(())
}

/// Compares what matters for correctness with what the server answered.
fn check(wanted: &Config, made: &Config) -> Result<()> {
    let differs = |what: &str| Err(internal(format!("stream {}: the server did not take {what}", wanted.name)));
    if made.subjects != wanted.subjects {
        return differs("its subjects");
    }
    if made.republish != wanted.republish {
        return differs("republish");
    }
    if made.allow_direct != wanted.allow_direct {
        return differs("allow_direct");
    }
    if made.discard != wanted.discard || made.retention != wanted.retention {
        return differs("retention and discard");
    }
    if made.max_age != wanted.max_age || made.max_bytes != wanted.max_bytes {
        return differs("max_age and max_bytes");
    }
    if made.duplicate_window != wanted.duplicate_window {
        return differs("duplicate_window");
    }
    Ok(())
}
