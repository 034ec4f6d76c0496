//! The streams as they are, for people who look after a mesh.

use crate::api::{self, StreamInfo};
use crate::choices::StreamChoices;
use crate::connection::Connection;
use crate::fault::unavailable;
use crate::streams::{STREAMS, StreamSpec};
use crate::{limits, settings};
use runmesh_domain::Result;
use std::time::Duration;

/// A stream as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Its name.
    pub name: &'static str,
    /// Copies that it should have.
    pub replicas: u32,
    /// Copies that have what the leader has, the leader's own included.
    pub replicas_current: u32,
    /// The server that leads it; empty at a server without a cluster, and while none leads.
    pub leader: String,
    /// Messages that it holds.
    pub messages: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes that it may hold; absent without a bound.
    pub bytes_max: Option<u64>,
    /// How long it keeps a message; absent without a bound.
    pub age: Option<Duration>,
    /// What the mesh lacks, and what differs from the choices about it, each in words.
    pub differences: Vec<String>,
}

/// Every stream of the table, in its order.
pub async fn of_all(connection: &Connection, choices: &StreamChoices) -> Result<Vec<StreamReport>> {
    let mut all = Vec::new();
    for spec in STREAMS {
        let info = api::info(connection, spec.name, limits::LOOK).await?;
        let info = info.ok_or_else(|| unavailable(format!("stream {} is missing", spec.name)))?;
        all.push(of(&spec, choices, info));
    }
    Ok(all)
}

fn of(spec: &StreamSpec, choices: &StreamChoices, info: StreamInfo) -> StreamReport {
    let StreamInfo { config, state, cluster } = info;
    let mut differences = settings::differences(spec, choices, &config);
    differences.extend(settings::unusable(spec, &config));
    if settings::needed(spec, &config).is_some() {
        let name = spec.name;
        differences.push(format!("stream {name} lacks what the mesh needs: restart a stream-relay, which puts it right"));
    }
    let replicas = u32::try_from(settings::replicas_of(&config)).unwrap_or(1);
    let (leader, replicas_current) = match cluster {
        // A stream of one copy in a cluster names its server, and no others.
        Some(cluster) => {
            let others = cluster.replicas.iter().filter(|peer| peer.current && !peer.offline).count();
            let own = u32::from(cluster.leader.is_some());
            (cluster.leader.unwrap_or_default(), own + u32::try_from(others).unwrap_or(u32::MAX - 1))
        }
        None => (String::new(), 1),
    };
    StreamReport {
        name: spec.name,
        replicas,
        replicas_current,
        leader,
        messages: state.messages,
        bytes: state.bytes,
        bytes_max: settings::bytes_max(&config),
        age: settings::max_age(&config),
        differences,
    }
}
