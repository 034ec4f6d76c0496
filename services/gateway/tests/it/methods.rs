//! The table of methods against the descriptors: no rpc without a row, no row without an rpc.

use std::collections::HashMap;

use runmesh_gateway::methods::{self, Caller, Class, METHODS, Messages, Pool};
use runmesh_wire::{deadline, descriptors};

/// Every rpc of the API, and whether it streams in either direction.
fn rpcs() -> HashMap<String, bool> {
    let services = descriptors::pool().unwrap().services();
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let rpcs = methods.map(|method| {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        (path, method.is_client_streaming() || method.is_server_streaming())
    });
    rpcs.collect()
}

#[test]
fn every_rpc_has_exactly_one_row() {
    let mut left = rpcs();
    for method in METHODS {
        assert!(left.remove(method.path).is_some(), "{} is no rpc, or has two rows", method.path);
    }
    assert!(left.is_empty(), "without a row: {left:?}");
}

#[test]
fn streams_follow_and_have_their_own_connections() {
    let rpcs = rpcs();
    for method in METHODS {
        let streams = rpcs[method.path];
        assert_eq!(method.pool != Pool::Unary, streams, "{}", method.path);
        assert_eq!(
            method.pool == Pool::Viewers,
            streams && method.caller.is_person(),
            "{}: viewers never block workers",
            method.path
        );
        assert_eq!(method.class == Class::Follow, streams, "{}", method.path);
        assert_eq!(methods::deadline(method.path), deadline::of(method.path), "{}: the services say otherwise", method.path);
    }
}

#[test]
fn a_request_has_as_many_messages_as_its_rpc_says() {
    let services = descriptors::pool().unwrap().services();
    for rpc in services.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
        let many = methods::find(&path).unwrap().messages == Messages::Many;
        assert_eq!(many, rpc.is_client_streaming(), "{path}");
    }
}

#[test]
fn workers_and_leases_are_kept_apart_from_people() {
    for (path, caller) in [
        ("/runmesh.worker.v1.WorkerService/Claim", Caller::Worker),
        ("/runmesh.worker.v1.WorkerService/Heartbeat", Caller::Worker),
        ("/runmesh.worker.v1.WorkerService/Finish", Caller::Lease),
        ("/runmesh.stream.v1.StreamService/Append", Caller::Lease),
        ("/runmesh.worker.v1.WorkerService/ListWorkers", Caller::User),
    ] {
        assert_eq!(methods::find(path).unwrap().caller, caller, "{path}");
    }
}

#[test]
fn a_service_is_in_one_place() {
    let names = runmesh_gateway::services();
    let mut once = names.to_vec();
    once.dedup();
    assert_eq!(once, names);
    assert_eq!(names, descriptors::services());
}
