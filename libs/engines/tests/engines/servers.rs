//! Each server by itself: killed, restarted, installed by two at once.

use std::{
    fs,
    net::TcpStream,
    process::{Command, Stdio},
};

use runmesh_engines::{DataDir, NatsCluster, NatsServer, PostgresServer, ServerOptions, Silent};

use crate::{
    support::{is_alive, scratch},
    talk::{nats_info, nats_request, query},
};

fn ephemeral() -> ServerOptions {
    ServerOptions::new(DataDir::Ephemeral)
}

#[tokio::test]
async fn nats_comes_back_on_its_port_with_its_data() {
    let nats = NatsServer::start(&ephemeral(), &Silent).await.unwrap();
    let (url, first) = (nats.url().to_owned(), nats.pid().await.unwrap());
    nats_request(nats.port(), "$JS.API.STREAM.CREATE.s", r#"{"name":"s","subjects":["s"],"storage":"file"}"#);
    assert_eq!(nats_request(nats.port(), "s", "one")["seq"], 1);

    nats.kill().await.unwrap();
    assert!(!is_alive(first) && nats.pid().await.is_none());
    assert!(TcpStream::connect(("127.0.0.1", nats.port())).is_err());

    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    assert_ne!(nats.pid().await, Some(first));
    assert_eq!(nats_request(nats.port(), "s", "two")["seq"], 2);

    nats.restart().await.unwrap();
    assert_eq!(nats_request(nats.port(), "s", "three")["seq"], 3);
    nats.stop().await.unwrap();
    nats.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_recovers_from_a_kill() {
    let postgres = PostgresServer::start(&ephemeral(), &Silent).await.unwrap();
    let first = postgres.pid().await.unwrap();
    query(postgres.port(), "create table t (n int); insert into t values (1)");

    postgres.kill().await.unwrap();
    assert!(!is_alive(first));
    postgres.restart().await.unwrap();

    query(postgres.port(), "insert into t values (2)");
    assert_eq!(query(postgres.port(), "select n from t order by n"), ["1", "2"]);
    postgres.stop().await.unwrap();
}

/// A pid file whose number now belongs to a stranger must neither stop the start nor the stranger.
#[tokio::test]
async fn a_reused_pid_is_a_stranger() {
    let scratch = scratch();
    let options = ServerOptions::new(DataDir::Persistent(scratch.path().join("pg")));
    let postgres = PostgresServer::start(&options, &Silent).await.unwrap();
    postgres.stop().await.unwrap();

    let mut sleep = Command::new("sleep");
    sleep.arg("600").stdout(Stdio::null()).stderr(Stdio::null());
    let mut stranger = sleep.spawn().unwrap();
    let pid_file = scratch.path().join("pg/postgres/postmaster.pid");
    fs::write(&pid_file, format!("{}\n/somewhere\n", stranger.id())).unwrap();
    postgres.restart().await.unwrap();

    assert_eq!(query(postgres.port(), "select 1"), ["1"]);
    assert_eq!(stranger.try_wait().unwrap(), None);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn two_installs_at_once_leave_one_whole_engine() {
    let cache = scratch();
    let options = ServerOptions { cache_dir: cache.path().join("cache"), ..ephemeral() };
    let (one, two) = tokio::join!(NatsServer::start(&options, &Silent), NatsServer::start(&options, &Silent));
    for server in [one.unwrap(), two.unwrap()] {
        assert_eq!(nats_info(server.port())["jetstream"], true);
        server.stop().await.unwrap();
    }
    let entries = fs::read_dir(&options.cache_dir).into_iter().flatten().flatten();
    let leftovers = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".install-"));
    assert_eq!(leftovers.count(), 0);
}

#[tokio::test]
async fn three_servers_form_a_cluster_that_outlives_one_of_them() {
    let cluster = NatsCluster::start(&ephemeral(), 3, &Silent).await.unwrap();
    assert_eq!(cluster.url().split(',').count(), 3);
    let [first, second, _] = cluster.servers() else { panic!("three servers") };
    let stream = r#"{"name":"s","subjects":["s"],"storage":"file","num_replicas":3}"#;
    let made = nats_request(first.port(), "$JS.API.STREAM.CREATE.s", stream);
    let leader = made["cluster"]["leader"].as_str().unwrap_or_default().to_owned();
    assert_eq!(nats_request(first.port(), "s", "one")["seq"], 1);

    // One that leads nothing, so that the others go on at once.
    let other = cluster.servers().iter().find(|server| server.name() != leader && server.port() != second.port()).unwrap();
    other.kill().await.unwrap();
    assert!(cluster.named(&leader).is_some());
    assert_eq!(nats_request(second.port(), "s", "two")["seq"], 2);
    other.restart().await.unwrap();
    assert_eq!(nats_request(second.port(), "s", "three")["seq"], 3);
}
