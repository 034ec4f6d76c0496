//! What requests may look like: plain messages, not too large, whole.

use std::time::Duration;

use runmesh_domain::Reason;
use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;

use runmesh_gateway::methods::{self, Caller, Messages};

use crate::support::raw::{self, message};
use crate::support::{eventually, pair, reason, tokens};

const UNARY: &str = "/runmesh.run.v1.RunService/CancelRun";
const STREAM: &str = "/runmesh.stream.v1.StreamService/Append";

fn bearer(path: &str) -> String {
    let token = if path == STREAM { tokens::lease(Duration::from_secs(60)) } else { tokens::ann() };
    format!("Bearer {token}")
}

#[tokio::test]
async fn compressed_messages_are_refused_by_header_and_by_flag() {
    let (_behind, gateway) = pair().await;
    for path in [UNARY, STREAM] {
        let token = bearer(path);
        let by_header = [("authorization", token.as_str()), ("grpc-encoding", "gzip")];
        let answer = raw::call(gateway.addr, path, &by_header, message(0, b"")).await;
        assert_eq!(reason(&answer.status()), Reason::MalformedMessage, "{path}");
        assert_eq!(answer.headers.get("grpc-accept-encoding").unwrap(), "identity");

        let answer = raw::call(gateway.addr, path, &[("authorization", &token)], message(1, b"\x1f\x8b")).await;
        assert_eq!(reason(&answer.status()), Reason::MalformedMessage, "{path}");

        let plain = [("authorization", token.as_str()), ("grpc-encoding", "identity")];
        let answer = raw::call(gateway.addr, path, &plain, message(0, b"")).await;
        assert_ne!(answer.status().code(), tonic::Code::InvalidArgument, "{path}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_at_its_header() {
    let (behind, gateway) = pair().await;
    for path in [UNARY, STREAM] {
        let token = bearer(path);
        let too_large = u32::try_from(STREAM_MESSAGE_BYTES_MAX + 1).unwrap();
        let (answer, mut sender) = raw::open(gateway.addr, path, &[("authorization", &token)]).await;
        let head = [&[0][..], &too_large.to_be_bytes()].concat();
        sender.send_data(head.into(), false).unwrap();
        let answer = raw::read(answer).await;
        assert_eq!(reason(&answer.status()), Reason::MessageTooLarge, "{path}: before the message was sent");
    }
    eventually("nothing is left behind", async || behind.open() == 0).await;
}

#[tokio::test]
async fn the_largest_message_passes() {
    let (behind, gateway) = pair().await;
    // Field 1, a text as long as fits: two bytes of tag and flag, three of length.
    let text = STREAM_MESSAGE_BYTES_MAX - 4;
    let mut bytes = vec![0x0a, (text & 0x7f | 0x80) as u8, (text >> 7 & 0x7f | 0x80) as u8, (text >> 14) as u8];
    bytes.resize(STREAM_MESSAGE_BYTES_MAX, b'k');
    let (answer, sender) = raw::open(gateway.addr, UNARY, &[("authorization", &bearer(UNARY))]).await;
    let writing = tokio::spawn(raw::write(sender, message(0, &bytes)));
    let answer = raw::read(answer).await;
    assert_eq!(answer.status().code(), tonic::Code::Ok, "{:?}", answer.status());
    writing.await.unwrap();
    assert_eq!(behind.calls(), 1);
}

#[tokio::test]
async fn a_bad_message_in_the_middle_of_a_stream_ends_it() {
    let (behind, gateway) = pair().await;
    let (answer, mut sender) = raw::open(gateway.addr, STREAM, &[("authorization", &bearer(STREAM))]).await;
    sender.send_data(message(0, b"").into(), false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let first = body.data().await.unwrap().unwrap();
    assert!(first.len() > 5, "an ack came back");
    sender.send_data(message(1, b"x").into(), false).unwrap();
    assert!(body.data().await.is_none());
    let status = tonic::Status::from_header_map(&body.trailers().await.unwrap().unwrap()).unwrap();
    assert_eq!(reason(&status), Reason::MalformedMessage);
    eventually("the stream behind has ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn a_request_without_a_message_is_the_callers_fault() {
    let (behind, gateway) = pair().await;
    for method in methods::METHODS.iter().filter(|method| method.messages == Messages::One) {
        let token = match method.caller {
            Caller::User | Caller::Person => tokens::ann(),
            Caller::Lease => tokens::lease(Duration::from_secs(60)),
            Caller::Worker => tokens::worker(Duration::from_secs(60)),
        };
        let headers = [("authorization", &*format!("Bearer {token}"))];
        let answer = raw::call(gateway.addr, method.path, &headers, Vec::new()).await;
        assert_eq!(reason(&answer.status()), Reason::MalformedMessage, "{}", method.path);
        // Ended with the headers, as some clients do.
        let answer = raw::read(raw::empty(gateway.addr, method.path, &headers).await).await;
        assert_eq!(reason(&answer.status()), Reason::MalformedMessage, "{}", method.path);
    }
    eventually("nothing is left behind", async || behind.open() == 0).await;
}

#[tokio::test]
async fn a_request_that_is_cut_or_says_too_much_is_refused() {
    let (_behind, gateway) = pair().await;
    let token = bearer(UNARY);
    let cut = message(0, b"0123456789")[..9].to_vec();
    let twice = [message(0, b""), message(0, b"")].concat();
    let unknown = message(2, b"");
    for (what, body) in [("cut", cut), ("twice", twice), ("unknown flag", unknown)] {
        let answer = raw::call(gateway.addr, UNARY, &[("authorization", &token)], body).await;
        assert_eq!(reason(&answer.status()), Reason::MalformedMessage, "{what}");
    }
}
