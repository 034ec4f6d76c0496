//! Engines for tests: one pair for the whole test program with a database for each mesh, or a pair of one's own for tests
//! that hurt them.

use runmesh_engines::{DataDir, EngineOptions, Engines, NatsCluster, ServerOptions, Silent};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

static SHARED: OnceCell<Arc<Engines>> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The engines of the whole test program. They end with it.
pub async fn shared() -> Arc<Engines> {
    Arc::clone(SHARED.get_or_init(own).await)
}

/// Engines that nobody else uses.
pub async fn own() -> Arc<Engines> {
    let engines = Engines::start(EngineOptions::new(DataDir::Ephemeral), &Silent).await;
    Arc::new(engines.unwrap_or_else(|error| panic!("engines: {error}\ntry: {}", error.hint())))
}

/// An own Postgres beside an own cluster of three NATS servers.
pub async fn own_with_cluster() -> (Arc<Engines>, NatsCluster) {
    let cluster = NatsCluster::start(&ServerOptions::new(DataDir::Ephemeral), 3, &Silent).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("a cluster of NATS: {error}\ntry: {}", error.hint()));
    let options = EngineOptions { nats_url: Some(cluster.url().to_owned()), ..EngineOptions::new(DataDir::Ephemeral) };
    let engines = Engines::start(options, &Silent).await;
    (Arc::new(engines.unwrap_or_else(|error| panic!("engines: {error}\ntry: {}", error.hint()))), cluster)
}

/// A fresh database on `engines`; its URL.
pub async fn database(engines: &Engines) -> String {
    let name = format!("mesh_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    let postgres = engines.postgres().expect("an own postgres");
    postgres.create_database(&name).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}
