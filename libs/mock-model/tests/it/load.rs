//! Many streams at once, and the longest one.

use runmesh_mock_model::MockModel;
use tokio::task::JoinSet;

use crate::client::ask;

#[tokio::test]
async fn sixty_four_streams_at_once_are_each_whole() {
    let mock = MockModel::start().await.unwrap();
    let address = mock.address();
    let mut streams = JoinSet::new();
    for _ in 0..64 {
        streams.spawn(async move { ask(address, "many:200").await });
    }
    for reply in streams.join_all().await {
        assert_eq!(reply.chunks().len(), 200);
        assert!(reply.complete && reply.is_done());
    }
    assert_eq!(mock.calls(), 64);
}

#[tokio::test]
async fn the_longest_stream_is_whole() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), "many:100000").await;
    let chunks = reply.chunks();
    assert_eq!(chunks.len(), 100_000);
    assert!(chunks[99_999].ends_with(" chunk-99999 "));
    assert!(reply.complete && reply.is_done());
}
