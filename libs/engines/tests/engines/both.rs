//! Both engines on one data folder.

use runmesh_engines::{DataDir, EngineError, EngineOptions, Engines, Silent};

use crate::{
    support::{is_alive, scratch},
    talk::{nats_info, nats_request, port_of, query},
};

#[tokio::test]
async fn data_survives_a_stop_and_is_held_by_one_starter() {
    let scratch = scratch();
    let data = scratch.path().join("project/.runmesh");
    let options = || EngineOptions::new(DataDir::Persistent(data.clone()));

    let engines = Engines::start(options(), &Silent).await.unwrap();
    let (postgres, nats) = (port_of(engines.postgres_url()), port_of(engines.nats_url()));
    query(postgres, "create table kept (word text); insert into kept values ('hello')");
    nats_request(nats, "$JS.API.STREAM.CREATE.kept", r#"{"name":"kept","subjects":["kept"],"storage":"file"}"#);
    assert_eq!(nats_request(nats, "kept", "hello")["seq"], 1);

    let second = Engines::start(options(), &Silent).await.unwrap_err();
    assert!(matches!(&second, EngineError::DataInUse { path } if path == engines.data_dir()), "{second}");
    assert!(second.hint().contains("another data folder"));
    assert_eq!(query(postgres, "select word from kept"), ["hello"], "the refused start must not disturb the first");
    engines.stop().await.unwrap();

    let engines = Engines::start(options(), &Silent).await.unwrap();
    let (postgres, nats) = (port_of(engines.postgres_url()), port_of(engines.nats_url()));
    assert_eq!(query(postgres, "select word from kept"), ["hello"]);
    assert_eq!(nats_request(nats, "$JS.API.STREAM.INFO.kept", "")["state"]["messages"], 1);
    engines.stop().await.unwrap();
}

#[tokio::test]
async fn engines_are_what_the_mesh_needs() {
    let engines = Engines::start(EngineOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    let folder = engines.data_dir().to_owned();
    let pids = [engines.postgres().unwrap().pid().await.unwrap(), engines.nats().unwrap().pid().await.unwrap()];

    let postgres = port_of(engines.postgres_url());
    for (setting, wanted) in [("fsync", "on"), ("max_connections", "200"), ("server_encoding", "UTF8")] {
        assert_eq!(query(postgres, &format!("show {setting}")), [wanted]);
    }
    for (setting, wanted) in [("listen_addresses", "127.0.0.1"), ("unix_socket_directories", "")] {
        assert_eq!(query(postgres, &format!("show {setting}")), [wanted]);
    }
    assert!(query(postgres, "show server_version_num")[0].parse::<u32>().unwrap() >= 150_000);

    let info = nats_info(port_of(engines.nats_url()));
    let version: Vec<u32> = info["version"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![2, 11], "{info}");
    assert_eq!((&info["jetstream"], &info["host"]), (&true.into(), &"127.0.0.1".into()));
    assert_eq!(info["max_payload"], 2 * 1024 * 1024);

    engines.stop().await.unwrap();
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
    assert!(!folder.exists(), "an ephemeral folder is removed");
}

#[tokio::test]
async fn given_urls_start_nothing() {
    let mut options = EngineOptions::new(DataDir::Ephemeral);
    options.postgres_url = Some("postgres://db.example/mesh".to_owned());
    options.nats_url = Some("nats://nats.example:4222".to_owned());
    let engines = Engines::start(options, &Silent).await.unwrap();
    assert_eq!(engines.postgres_url(), "postgres://db.example/mesh");
    assert_eq!(engines.nats_url(), "nats://nats.example:4222");
    assert!(engines.postgres().is_none() && engines.nats().is_none());
    engines.stop().await.unwrap();
}
