//! One of two servers dies under load: no caller of a short call notices.

use runmesh_gateway::GatewayConfig;
use runmesh_gateway::config::Limits;
use runmesh_wire::pb::run::ListQueueRequest;

use crate::support::behind::Behind;
use crate::support::{Gateway, by, config, eventually, tokens};

async fn busy(first: &Behind, second: &Behind) -> Gateway {
    let limits = Limits { calls_per_second: 0, ..Limits::default() };
    Gateway::start(GatewayConfig { limits, ..config(&[first, second]) }).await
}

#[tokio::test]
async fn one_of_two_servers_killed_fails_no_call() {
    let (first, second) = (Behind::start("first").await, Behind::start("second").await);
    let gateway = busy(&first, &second).await;
    let mut runs = gateway.runs().await;
    let mut answered = Vec::new();
    for call in 0..300 {
        if call == 100 {
            assert!(answered.iter().any(|name| name == "first") && answered.iter().any(|name| name == "second"));
            first.kill().await;
            answered.clear();
        }
        let queue = runs.list_queue(by(&tokens::ann(), ListQueueRequest::default())).await.unwrap().into_inner();
        answered.push(queue.runs[0].run_id.clone());
    }
    assert!(answered.iter().all(|name| name == "second"));
}

#[tokio::test]
async fn calls_in_flight_at_the_death_are_answered_too() {
    let (first, second) = (Behind::start("first").await, Behind::start("second").await);
    let gateway = busy(&first, &second).await;
    let runs = gateway.runs().await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let mut runs = runs.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    runs.list_queue(by(&tokens::ann(), ListQueueRequest::default())).await.unwrap();
                }
            })
        })
        .collect();
    eventually("both are busy", async || first.calls() > 50 && second.calls() > 50).await;
    first.kill().await;
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(first.calls() + second.calls() >= 800);
}
