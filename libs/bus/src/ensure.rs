//! Makes the streams that are missing, and checks those that are there. What the mesh cannot work without is put right; what
//! an operator chose stays. Any number of replicas may do this at once.

use crate::api::{self, StreamInfo};
use crate::choices::StreamChoices;
use crate::connection::Connection;
use crate::fault::{internal, unavailable, unusable};
use crate::limits;
use crate::settings::{self, Settings};
use crate::streams::{STREAMS, StreamSpec};
use runmesh_domain::Result;

/// Every stream of the table. What differs from the choices is logged, once a start.
pub async fn streams(connection: &Connection, choices: &StreamChoices) -> Result<()> {
    for spec in STREAMS {
        let info = match api::info(connection, spec.name, limits::REQUEST).await? {
            Some(info) => info,
            None => make(connection, &spec, choices).await?,
        };
        if let Some(problem) = settings::unusable(&spec, &info.config) {
            return Err(unusable(problem));
        }
        let has = put_right(connection, &spec, info.config).await?;
        let has = grow(connection, &spec, choices, has).await?;
        for difference in settings::differences(&spec, choices, &has) {
            tracing::warn!(stream = spec.name, "{difference}");
        }
        tracing::debug!(stream = spec.name, messages = info.state.messages, "stream is ready");
    }
    Ok(())
}

/// Makes the streams that nobody has; true when there were any. One that is there is left alone, also when its leader is away.
pub async fn missing(connection: &Connection, choices: &StreamChoices) -> Result<bool> {
    let mut was_missing = false;
    for spec in STREAMS {
        if api::is_missing(connection, spec.subjects).await? {
            make(connection, &spec, choices).await?;
            was_missing = true;
        }
    }
    Ok(was_missing)
}

async fn make(connection: &Connection, spec: &StreamSpec, choices: &StreamChoices) -> Result<StreamInfo> {
    let name = spec.name;
    match api::create(connection, name, &settings::fresh(spec, choices)).await? {
        Ok(info) => Ok(info),
        // Another replica has made it meanwhile, with other settings.
        Err(error) if error.is_name_in_use() => {
            let info = api::info(connection, name, limits::REQUEST).await?;
            info.ok_or_else(|| unavailable(format!("stream {name} comes and goes")))
        }
        Err(error) if error.is_passing() => Err(unavailable(format!("stream {name}: {error}"))),
        Err(error) => {
            let replicas = choices.replicas.map_or(1, |replicas| replicas.get());
            Err(unusable(format!(
                "nats-server does not make stream {name} with {replicas} copies: {error}. bus.replicas wants as many servers \
                 with JetStream in one cluster, bus.placement wants servers that have its cluster and tags, and the account \
                 wants room for bus.log_bytes_max and bus.feed_bytes_max"
            )))
        }
    }
}

/// Gives a stream what the mesh cannot work without, and reads back what the server made of it: old servers drop settings in
/// silence.
async fn put_right(connection: &Connection, spec: &StreamSpec, has: Settings) -> Result<Settings> {
    let Some(needed) = settings::needed(spec, &has) else { return Ok(has) };
    let name = spec.name;
    match api::update(connection, name, &needed).await? {
        Ok(info) => {
            if settings::needed(spec, &info.config).is_some() {
                return Err(internal(format!("stream {name}: the server did not take what the mesh needs")));
            }
            let changed: Vec<&str> =
                needed.iter().filter(|(key, value)| has.get(*key) != Some(value)).map(|(key, _)| key.as_str()).collect();
            tracing::warn!(stream = name, ?changed, "a stream lacked what the mesh needs, and has it now");
            Ok(info.config)
        }
        Err(error) if error.is_passing() => Err(unavailable(format!("stream {name}: {error}"))),
        Err(error) => {
            Err(unusable(format!("stream {name} lacks what the mesh needs, and the server does not change it: {error}")))
        }
    }
}

/// Makes a stream larger where that was chosen, one change at a time. A server that refuses is no reason not to start.
async fn grow(connection: &Connection, spec: &StreamSpec, choices: &StreamChoices, mut has: Settings) -> Result<Settings> {
    for (setting, value) in settings::growth(spec, choices, &has) {
        let mut wanted = has.clone();
        wanted.insert(setting.to_owned(), value.clone());
        match api::update(connection, spec.name, &wanted).await? {
            Ok(info) => {
                tracing::info!(stream = spec.name, setting, %value, "a stream was made larger, as the settings say");
                has = info.config;
            }
            Err(error) => {
                tracing::warn!(stream = spec.name, setting, %value, %error, "the server does not make a stream larger");
            }
        }
    }
    Ok(has)
}
