//! How often one person may call, and that others do not pay for it.

use runmesh_domain::Reason;
use runmesh_gateway::GatewayConfig;
use runmesh_gateway::config::Limits;
use runmesh_wire::pb::run::SendMessageRequest;
use serde_json::json;
use tonic_types::StatusExt as _;

use crate::support::behind::Behind;
use crate::support::{Gateway, by, config, reason, tokens};

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_back() {
    let behind = Behind::start("behind").await;
    let limits = Limits { calls_per_second: 1, calls_burst: 3 };
    let gateway = Gateway::start(GatewayConfig { limits, ..config(&[&behind]) }).await;
    let mut runs = gateway.runs().await;
    let mut admitted = 0;
    let status = loop {
        match runs.send_message(by(&tokens::ann(), SendMessageRequest::default())).await {
            Ok(_) => admitted += 1,
            Err(status) => break status,
        }
        assert!(admitted < 100, "never refused");
    };
    assert_eq!(reason(&status), Reason::RateLimit);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    assert!(admitted >= 3, "the burst: {admitted}");
    assert_eq!(behind.calls(), admitted);

    let other_org = tokens::person("ann", json!({"orgs": ["beta"]}));
    let status = runs.send_message(by(&other_org, SendMessageRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), Reason::RateLimit, "one person in all orgs");
    let bob = tokens::person("bob", json!({}));
    runs.send_message(by(&bob, SendMessageRequest::default())).await.unwrap();
}
