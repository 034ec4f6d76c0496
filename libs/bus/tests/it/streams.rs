//! How streams are made, what is put right about them, and what stays as an operator left it.

use crate::support::{World, append, key, words};
use runmesh_bus::{Bus, BusConfig, StreamChoices};
use runmesh_domain::log::Tail;
use runmesh_domain::{Error, Fault};
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
use serde_json::{Value, json};

const DAYS_14: u64 = 14 * 86_400 * 1_000_000_000;

/// An operator at a server.
struct Operator(async_nats::Client);

impl Operator {
    async fn at(nats: &NatsServer) -> Self {
        Self(async_nats::connect(nats.url()).await.unwrap())
    }

    async fn api(&self, subject: &str, question: &Value) -> Value {
        let answer = self.0.request(format!("$JS.API.STREAM.{subject}"), question.to_string().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer.get("error"), None, "{subject}");
        answer
    }

    async fn settings(&self, stream: &str) -> Value {
        self.api(&format!("INFO.{stream}"), &Value::Null).await["config"].take()
    }

    /// `nats stream edit`.
    async fn edit(&self, stream: &str, change: &Value) -> Value {
        let mut settings = self.settings(stream).await;
        change.as_object().unwrap().iter().for_each(|(key, value)| settings[key] = value.clone());
        self.api(&format!("UPDATE.{stream}"), &settings).await["config"].take()
    }
}

async fn start() -> NatsServer {
    NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap()
}

async fn bus(nats: &NatsServer, choices: Value) -> Bus {
    let choices: StreamChoices = serde_json::from_value(choices).unwrap();
    Bus::connect(BusConfig::new(nats.url(), "test").choosing(&choices)).await.unwrap()
}

fn unusable(result: Result<(), Error>) -> String {
    match result {
        Err(Error::Fault(Fault::Unusable { part: "nats", detail })) => detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_operators_edits_survive_a_restart_of_the_mesh() {
    let world = World::start().await;
    let operator = Operator::at(&world.nats).await;
    let edits = json!({"max_bytes": 3_u64 << 30, "max_age": DAYS_14, "compression": "s2", "description": "mine"});
    let edited = operator.edit("RM_LOG", &edits).await;
    let small = operator.edit("RM_TRANSITIONS", &json!({"max_bytes": 64 << 20})).await;
    world.another().await.ensure().await.unwrap();
    assert_eq!(operator.settings("RM_LOG").await, edited);
    assert_eq!(operator.settings("RM_TRANSITIONS").await, small);
}

#[tokio::test]
async fn what_the_mesh_cannot_work_without_is_put_right_and_the_rest_stays() {
    let world = World::start().await;
    let operator = Operator::at(&world.nats).await;
    let broken = json!({"republish": null, "allow_direct": false, "max_msgs_per_subject": 5, "max_bytes": 3_u64 << 30});
    operator.edit("RM_LOG", &broken).await;
    world.another().await.ensure().await.unwrap();
    let settings = operator.settings("RM_LOG").await;
    assert_eq!(settings["republish"], json!({"src": "rm.log.>", "dest": "rm.live.>"}));
    assert_eq!((&settings["allow_direct"], &settings["max_msgs_per_subject"]), (&json!(true), &json!(-1)));
    assert_eq!(settings["max_bytes"], 3_u64 << 30);
    append(&world.bus, key(), &Tail::default(), vec![words(1)]).await;
}

#[tokio::test]
async fn streams_are_made_as_chosen_grow_as_chosen_and_never_shrink() {
    let nats = start().await;
    let operator = Operator::at(&nats).await;
    bus(&nats, json!({"log_bytes_max": "64MiB", "feed_age": "24h"})).await.ensure().await.unwrap();
    assert_eq!(operator.settings("RM_LOG").await["max_bytes"], 64 << 20);
    assert_eq!(operator.settings("RM_TRANSITIONS").await["max_age"], 86_400_000_000_000_u64);

    let larger = bus(&nats, json!({"log_bytes_max": "2GiB", "log_age": "14d"})).await;
    larger.ensure().await.unwrap();
    let grown = operator.settings("RM_LOG").await;
    assert_eq!((&grown["max_bytes"], &grown["max_age"]), (&json!(2_u64 << 30), &json!(DAYS_14)));
    assert!(larger.streams().await.unwrap().iter().all(|stream| stream.differences.is_empty()));

    let smaller = bus(&nats, json!({"log_bytes_max": "1GiB"})).await;
    smaller.ensure().await.unwrap();
    assert_eq!(operator.settings("RM_LOG").await, grown);
    let streams = smaller.streams().await.unwrap();
    assert_eq!(streams[0].differences.len(), 1, "{streams:?}");
    let said = &streams[0].differences[0];
    assert!(said.starts_with("bus.log_bytes_max is 1 GiB and stream RM_LOG has 2 GiB, which stays"), "{said}");
    assert_eq!((streams[0].bytes_max, streams[0].replicas, streams[0].replicas_current), (Some(2 << 30), 1, 1));
}

#[tokio::test]
async fn replicas_that_do_not_match_are_said_in_words() {
    let nats = start().await;
    let three = bus(&nats, json!({"replicas": 3})).await;
    let refused = unusable(three.ensure().await);
    assert!(refused.contains("RM_LOG with 3 copies") && refused.contains("bus.replicas wants as many servers"), "{refused}");

    // A stream that is there works with fewer: the mesh starts, and says so.
    bus(&nats, json!({})).await.ensure().await.unwrap();
    three.ensure().await.unwrap();
    let streams = three.streams().await.unwrap();
    assert!(streams.iter().all(|stream| stream.replicas == 1), "{streams:?}");
    let said = &streams[0].differences;
    assert!(said.iter().any(|said| said.starts_with("bus.replicas is 3 and stream RM_LOG has 1")), "{said:?}");
}

#[tokio::test]
async fn a_stream_that_no_update_can_mend_is_refused_in_words() {
    let nats = start().await;
    let operator = Operator::at(&nats).await;
    let queue =
        json!({"name": "RM_LOG", "subjects": ["rm.log.>"], "retention": "workqueue", "storage": "file", "num_replicas": 1});
    operator.api("CREATE.RM_LOG", &queue).await;
    let refused = unusable(bus(&nats, json!({})).await.ensure().await);
    assert!(refused.contains("keeps messages by workqueue") && refused.contains("nats stream rm RM_LOG"), "{refused}");
}

#[tokio::test]
async fn a_stream_whose_subjects_another_one_has_is_refused_in_words() {
    let nats = start().await;
    let foreign =
        json!({"name": "MINE", "subjects": ["rm.transition.a.>"], "retention": "limits", "storage": "file", "num_replicas": 1});
    Operator::at(&nats).await.api("CREATE.MINE", &foreign).await;
    let refused = unusable(bus(&nats, json!({})).await.ensure().await);
    assert!(refused.contains("RM_TRANSITIONS") && refused.contains("overlap"), "{refused}");
}
