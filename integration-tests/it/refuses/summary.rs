//! SummaryService.

use super::{Case, case, check_all, invalid};
use crate::harness::small;
use crate::rpc::Api;
use serde_json::json;

pub(super) fn cases() -> Vec<Case> {
    vec![case("GetSummary", "a negative page", json!({"page_size": -1}), invalid("page_size"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_summary() {
    let mesh = small().without_workers().start().await;
    check_all(&Api::of(&mesh), cases()).await;
}
