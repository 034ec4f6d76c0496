//! The signed header of a hop: demanded, verified, handed to the handler, open only for health.

use std::time::Duration;

use http::HeaderName;
use runmesh_host::server::{Principal, Server, ServerConfig};
use runmesh_host::signed::{MeshKey, Signer, Verifier};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{self, Running, raw, reason};

const HEADER: &str = "x-demo-principal";

async fn guarded(key: &MeshKey) -> Running {
    let guard = Principal::<String>::new(HeaderName::from_static(HEADER), Verifier::new(key, "hop+jwt", "demo"));
    let server = Server::builder(ServerConfig::default()).policy(support::policy()).guard(guard);
    support::start(server, support::demo::routes("demo"), None).await
}

#[tokio::test]
async fn a_signed_header_reaches_the_handler() {
    let key = MeshKey::generate().unwrap();
    let demo = guarded(&key).await;
    let token = Signer::new(&key, "hop+jwt", "demo").sign(&"usr_1", Duration::from_secs(60)).unwrap();
    let answer = raw::call(demo.addr, "Who", &[(HEADER, &token)]).await;
    assert_eq!(answer.status().0.code(), Code::Ok);
    assert!(answer.data.ends_with(b"usr_1"));
}

#[tokio::test]
async fn without_a_good_one_nothing_but_health_is_served() {
    let key = MeshKey::generate().unwrap();
    let demo = guarded(&key).await;
    let other = Signer::new(&MeshKey::generate().unwrap(), "hop+jwt", "demo").sign(&"usr_1", Duration::from_secs(60)).unwrap();
    let no_header: &[(&str, &str)] = &[];
    for headers in [no_header, &[(HEADER, "rubbish")], &[(HEADER, &other)]] {
        let (status, _) = raw::call(demo.addr, "Who", headers).await.status();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"), "{headers:?}");
    }
    assert!(HealthClient::new(demo.channel().await).check(HealthCheckRequest::default()).await.is_ok());
}
