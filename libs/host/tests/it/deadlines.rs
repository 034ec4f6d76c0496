//! The time of a call, over headers and body, from the caller and from the class.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::support::{self, raw, reason};

#[tokio::test]
async fn a_handler_that_takes_too_long_is_answered_in_headers() {
    let demo = support::demo().await;
    for (method, headers) in
        [("Slow", &[("grpc-timeout", "150m")][..]), ("SlowClass", &[]), ("SlowClass", &[("grpc-timeout", "1H")])]
    {
        let started = Instant::now();
        let answer = timeout(support::PATIENCE, raw::call(demo.addr, method, headers)).await.unwrap();
        let (status, in_trailers) = answer.status();
        assert!(!in_trailers);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{method}");
        assert!(started.elapsed() >= Duration::from_millis(140), "{method} ended early: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_stream_that_takes_too_long_is_ended_by_trailers() {
    let demo = support::demo().await;
    let started = Instant::now();
    let answer = timeout(support::PATIENCE, raw::call(demo.addr, "Drip", &[("grpc-timeout", "200m")])).await.unwrap();
    let (status, in_trailers) = answer.status();
    assert!(in_trailers && answer.data.ends_with(b"first"));
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(started.elapsed() >= Duration::from_millis(190));
}

#[tokio::test]
async fn the_smaller_time_counts_and_a_malformed_one_does_not() {
    let demo = support::demo().await;
    let started = Instant::now();
    // The class of this one is thirty seconds.
    let (status, _) = raw::call(demo.addr, "SlowLong", &[("grpc-timeout", "10m")]).await.status();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(started.elapsed() < support::PATIENCE);
    let (status, _) = raw::call(demo.addr, "Echo", &[("grpc-timeout", "soon")]).await.status();
    assert_eq!(status.code(), Code::Ok);
}
