//! ApprovalService.

use super::{Case, check_all, pages};
use crate::harness::small;
use crate::rpc::Api;
use serde_json::json;

pub(super) fn cases() -> Vec<Case> {
    pages("ListPendingActions", &json!({}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals() {
    let mesh = small().without_workers().start().await;
    check_all(&Api::of(&mesh), cases()).await;
}
