//! WorkerService, as workers and people call it. What a lease holder may get wrong is in `holder`.

use super::{Case, UNKNOWN_RUN, UNKNOWN_SESSION, but, case, check_all, invalid, no};
use crate::harness::small;
use crate::rpc::{Api, signed};
use runmesh_domain::principal::WorkerCredential;
use runmesh_testkit::mesh::Mesh;
use runmesh_wire::header;
use serde_json::{Value, json};
use tonic::Code;

/// A worker of that credential.
pub(super) fn worker(mesh: &Mesh, credential: &str) -> Api {
    let credential = WorkerCredential { id: credential.into(), orgs: None, agents: None };
    Api::of(mesh).with_token(&signed(header::WORKER_TYPE, &credential))
}

fn claims() -> Vec<Case> {
    let good = json!({"worker": "w", "capacity": 1, "tools": ["*"]});
    let hello = |field: &str, value: Value| json!({"hello": but(&good, field, value)});
    vec![
        case("Claim", "nothing said", json!({}), invalid("message")),
        case("Claim", "credits first", json!({"credits": {"add": 1}}), invalid("hello")),
        case("Claim", "an ack first", json!({"ack": {}}), invalid("hello")),
        case("Claim", "a long name", hello("worker", json!("w".repeat(129))), invalid("hello.worker")),
        case("Claim", "NUL in the name", hello("worker", json!("\0")), invalid("hello.worker")),
        case("Claim", "no capacity", hello("capacity", json!(0)), invalid("hello.capacity")),
        case("Claim", "negative capacity", hello("capacity", json!(-1)), invalid("hello.capacity")),
        case("Claim", "great capacity", hello("capacity", json!(10_001)), invalid("hello.capacity")),
        case("Claim", "an agent by name", hello("agent_ids", json!(["default"])), invalid("hello.agent_ids")),
        case("Claim", "a long tool", hello("tools", json!(["t".repeat(65)])), invalid("hello.tools")),
        case("Claim", "NUL in a tool", hello("tools", json!(["\0"])), invalid("hello.tools")),
        case("Claim", "many tools", hello("tools", json!(vec!["t"; 129])), invalid("hello.tools")),
        case("Claim", "no session's id", hello("session_id", json!("run_>")), invalid("hello.session_id")),
        case(
            "Claim",
            "an unknown session",
            hello("session_id", json!(UNKNOWN_SESSION)),
            no(Code::FailedPrecondition, "SESSION_LOST"),
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let held = |lease: Value| json!({"session_id": UNKNOWN_SESSION, "held": [{"run_id": UNKNOWN_RUN, "fence": 1}, lease]});
    let mut cases = claims();
    cases.extend([
        case("Heartbeat", "no session", json!({}), invalid("session_id")),
        case("Heartbeat", "another kind of id", json!({"session_id": UNKNOWN_RUN}), invalid("session_id")),
        case("Heartbeat", "an empty lease", held(json!({})), invalid("held[1].run_id")),
        case("Heartbeat", "a negative fence", held(json!({"run_id": UNKNOWN_RUN, "fence": -1})), invalid("held[1].fence")),
        case(
            "Heartbeat",
            "more than anybody holds",
            json!({
                "session_id": UNKNOWN_SESSION, "held": vec![json!({"run_id": UNKNOWN_RUN, "fence": 1}); 10_001],
            }),
            invalid("held"),
        ),
        case("ListWorkers", "a negative page", json!({"page_size": -1}), invalid("page_size")),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers() {
    let mesh = small().without_workers().start().await;
    let (people, workers): (Vec<_>, Vec<_>) = cases().into_iter().partition(|case| case.method == "ListWorkers");
    check_all(&Api::of(&mesh), people).await;
    let api = worker(&mesh, "external");
    check_all(&api, workers).await;
    let beat = api.ok("Heartbeat", json!({"session_id": UNKNOWN_SESSION, "held": [{"run_id": UNKNOWN_RUN, "fence": 1}]})).await;
    assert_eq!((&beat["status"], &beat["lost_run_ids"]), (&json!("STATUS_LOST"), &json!([UNKNOWN_RUN])), "{beat}");
}
