//! OrgService.

use super::{Api, Done, answer, page};
use crate::auth;
use crate::encode;
use crate::mesh::Mesh;
use runmesh_domain::id::UserId;
use runmesh_domain::{Refusal, Result};
use runmesh_store::orgs::{self, MemberRole};
use runmesh_wire::convert::id;
use runmesh_wire::pb::org as pb;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::org_service_server::OrgService for Api {
    async fn get_org(&self, request: Request<pb::GetOrgRequest>) -> Result<Response<pb::GetOrgResponse>, Status> {
        answer(self.0.get_org(request).await)
    }

    async fn list_members(&self, request: Request<pb::ListMembersRequest>) -> Result<Response<pb::ListMembersResponse>, Status> {
        answer(self.0.list_members(request).await)
    }

    async fn put_member(&self, request: Request<pb::PutMemberRequest>) -> Result<Response<pb::PutMemberResponse>, Status> {
        answer(self.0.put_member(request).await)
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        answer(self.0.remove_member(request).await)
    }
}

impl Mesh {
    async fn get_org(&self, request: Request<pb::GetOrgRequest>) -> Result<pb::GetOrgResponse> {
        let caller = auth::caller(&request)?;
        let pb::GetOrgRequest {} = request.into_inner();
        let (org, member) = self
            .read(caller, move |tx| {
                Box::pin(async move {
                    let org = orgs::get(tx, caller.org).await?;
                    Ok((org, orgs::member(tx, caller.org, caller.user).await?))
                })
            })
            .await?;
        let mesh = self.mesh_info().await?;
        Ok(pb::GetOrgResponse { org: Some(encode::org(org)), member: member.map(encode::member), mesh: Some(mesh) })
    }

    /// What this mesh runs on.
    async fn mesh_info(&self) -> Result<pb::MeshInfo> {
        Ok(pb::MeshInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            postgres_version: self.db.server_version().await?,
            nats_version: self.bus.server_version(),
            migration_version: self.db.migration_version().await?,
            known_migration_version: runmesh_store::newest_migration(),
        })
    }

    async fn list_members(&self, request: Request<pb::ListMembersRequest>) -> Result<pb::ListMembersResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListMembersRequest { page_size: size, page_token } = request.into_inner();
        let page = page(size, page_token)?;
        let page = self
            .read(caller, move |tx| {
                let page = page.clone();
                Box::pin(async move { orgs::list_members(tx, caller.org, &page).await })
            })
            .await?;
        let members = page.items.into_iter().map(encode::member).collect();
        Ok(pb::ListMembersResponse { members, next_page_token: page.next_page_token })
    }

    async fn put_member(&self, request: Request<pb::PutMemberRequest>) -> Result<pb::PutMemberResponse> {
        let caller = auth::caller(&request)?;
        let mut body = request.into_inner();
        let key = std::mem::take(&mut body.idempotency_key);
        let user: UserId = id("user_id", &body.user_id)?;
        let role = match body.role() {
            pb::member::Role::Unspecified => return Err(Refusal::field("role", "is required").into()),
            pb::member::Role::Member => MemberRole::Member,
            pb::member::Role::Admin => MemberRole::Admin,
        };
        self.mutate(caller, "PutMember", key, &body, move |tx| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                let member = orgs::put_member(tx, caller.org, user, role).await?;
                Ok(Done::quiet(pb::PutMemberResponse { member: Some(encode::member(member)), replayed: false }))
            })
        })
        .await
    }

    async fn remove_member(&self, request: Request<pb::RemoveMemberRequest>) -> Result<pb::RemoveMemberResponse> {
        let caller = auth::caller(&request)?;
        let mut body = request.into_inner();
        let key = std::mem::take(&mut body.idempotency_key);
        let user: UserId = id("user_id", &body.user_id)?;
        self.mutate(caller, "RemoveMember", key, &body, move |tx| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                orgs::remove_member(tx, caller.org, user).await?;
                Ok(Done::quiet(pb::RemoveMemberResponse { replayed: false }))
            })
        })
        .await
    }
}
