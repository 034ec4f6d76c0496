//! OrgService.

use super::{Case, UNKNOWN_USER, but, case, check_all, ids, invalid, keys, no, pages};
use crate::harness::small;
use crate::rpc::Api;
use serde_json::json;
use tonic::Code;

fn members() -> Vec<Case> {
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

pub(super) fn cases() -> Vec<Case> {
    let mut cases = members();
    let create = json!({"idempotency_key": "k", "name": "fresh"});
    let named = |name: &str| but(&create, "name", json!(name));
    let taken = no(Code::AlreadyExists, "NAME_TAKEN");
    cases.extend(keys("CreateOrg", &create));
    cases.extend([
        case("CreateOrg", "no name", named(""), invalid("name")),
        case("CreateOrg", "a bad name", named("A b"), invalid("name")),
        case("CreateOrg", "a name that reads as an id", named("org_00000000000000000000000000000001"), invalid("name")),
        case("CreateOrg", "a name for every org", named("*"), invalid("name")),
        case("CreateOrg", "a long name", named(&"a".repeat(65)), invalid("name")),
        case("CreateOrg", "a taken name", named("dev"), taken),
        case("CreateOrg", "the name of an org of others", named("acme"), taken),
        case("CreateOrg", "a long display name", but(&create, "display_name", json!("d".repeat(201))), invalid("display_name")),
        case("CreateOrg", "NUL in it", but(&create, "display_name", json!("\0")), invalid("display_name")),
    ]);
    cases.extend(pages("ListOrgs", &json!({})));
    let update = json!({"idempotency_key": "k"});
    let limits = |field: &str, value: i32| but(&update, "limits", json!({ field: value }));
    cases.extend(keys("UpdateOrg", &update));
    cases.extend([
        case("UpdateOrg", "a long display name", but(&update, "display_name", json!("d".repeat(201))), invalid("display_name")),
        case("UpdateOrg", "NUL in it", but(&update, "display_name", json!("\0")), invalid("display_name")),
    ]);
    for (field, named, max) in [
        ("running_per_user_max", "limits.running_per_user_max", 1_000),
        ("running_per_org_max", "limits.running_per_org_max", 10_000),
    ] {
        cases.push(case("UpdateOrg", "nothing may run", limits(field, 0), invalid(named)));
        cases.push(case("UpdateOrg", "less than nothing", limits(field, -1), invalid(named)));
        cases.push(case("UpdateOrg", "a great limit", limits(field, max + 1), invalid(named)));
    }
    cases.extend(keys("DeleteOrg", &json!({"idempotency_key": "k"})));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orgs() {
    let mesh = small().without_workers().start().await;
    check_all(&Api::of(&mesh), cases()).await;
}
