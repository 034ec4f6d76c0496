//! OrgService.

use super::{Case, UNKNOWN_USER, but, case, check_all, ids, invalid, keys, pages};
use crate::harness::small;
use crate::rpc::Api;
use serde_json::json;

pub(super) fn cases() -> Vec<Case> {
    let put = json!({"idempotency_key": "k", "user_id": UNKNOWN_USER, "role": "ROLE_MEMBER"});
    let remove = json!({"idempotency_key": "k", "user_id": UNKNOWN_USER});
    let mut cases = keys("PutMember", &put);
    // Whoever is put in need not be known.
    let unknown = ids("PutMember", &put, "user_id", UNKNOWN_USER);
    cases.extend(unknown.into_iter().filter(|case| case.what != "an unknown id"));
    cases.extend([
        case("PutMember", "no role", but(&put, "role", json!(0)), invalid("role")),
        case("PutMember", "a later version's role", but(&put, "role", json!(99)), invalid("role")),
    ]);
    cases.extend(keys("RemoveMember", &remove));
    cases.extend(ids("RemoveMember", &remove, "user_id", UNKNOWN_USER));
    cases.extend(pages("ListMembers", &json!({})));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members() {
    let mesh = small().without_workers().start().await;
    check_all(&Api::of(&mesh), cases()).await;
}
