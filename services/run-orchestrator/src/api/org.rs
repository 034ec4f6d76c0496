//! OrgService.

use super::{Api, Done, answer, page};
use crate::auth::{self, Person};
use crate::encode;
use crate::idempotent::By;
use crate::mesh::Mesh;
use runmesh_domain::id::UserId;
use runmesh_domain::{Refusal, Result, limits, text};
use runmesh_store::orgs::{self, MemberRole, NewOrg, OrgChange};
use runmesh_store::{Schema, Scope};
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::id;
use runmesh_wire::pb::org as pb;
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::org_service_server::OrgService for Api {
    async fn get_org(&self, request: Request<pb::GetOrgRequest>) -> Result<Response<pb::GetOrgResponse>, Status> {
        answer(self.0.get_org(request).await)
    }

    async fn create_org(&self, request: Request<pb::CreateOrgRequest>) -> Result<Response<pb::CreateOrgResponse>, Status> {
        answer(self.0.create_org(request).await)
    }

    async fn list_orgs(&self, request: Request<pb::ListOrgsRequest>) -> Result<Response<pb::ListOrgsResponse>, Status> {
        answer(self.0.list_orgs(request).await)
    }

    async fn update_org(&self, request: Request<pb::UpdateOrgRequest>) -> Result<Response<pb::UpdateOrgResponse>, Status> {
        answer(self.0.update_org(request).await)
    }

    async fn delete_org(&self, request: Request<pb::DeleteOrgRequest>) -> Result<Response<pb::DeleteOrgResponse>, Status> {
        answer(self.0.delete_org(request).await)
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

fn check_display_name(text: &str) -> Result<()> {
    Ok(text::at_most_chars("display_name", text, limits::DISPLAY_NAME_CHARS_MAX)?)
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

    async fn create_org(&self, request: Request<pb::CreateOrgRequest>) -> Result<pb::CreateOrgResponse> {
        // Which orgs the token names plays no part: what may be made is not theirs to say.
        let Person { user, orgs: _ } = auth::person(&request)?;
        self.founding.check(user)?;
        let read = |request| {
            let pb::CreateOrgRequest { idempotency_key: _, name, display_name } = request;
            text::org_name("name", &name)?;
            check_display_name(&display_name)?;
            Ok(NewOrg { name, display_name })
        };
        let founding = Arc::clone(&self.founding);
        self.mutate(By::Person(user), request.into_inner(), read, move |tx, new| {
            let founding = Arc::clone(&founding);
            Box::pin(async move {
                let org = founding.found(tx, &new, user).await?;
                let member = orgs::member(tx, org.id, user).await?.map(encode::member);
                Ok(Done::quiet(pb::CreateOrgResponse { org: Some(encode::org(org)), member, replayed: false }))
            })
        })
        .await
    }

    async fn list_orgs(&self, request: Request<pb::ListOrgsRequest>) -> Result<pb::ListOrgsResponse> {
        let Person { user, orgs: among } = auth::person(&request)?;
        let pb::ListOrgsRequest { page_size: size, page_token } = request.into_inner();
        let page = page(size, page_token)?;
        let page = self
            .db
            .read(Scope::Person(user), move |tx| {
                let (among, page) = (among.clone(), page.clone());
                Box::pin(async move { orgs::list_of(tx, user, among.as_deref(), &page).await })
            })
            .await?;
        let place = |(org, member)| pb::Membership { org: Some(encode::org(org)), member: Some(encode::member(member)) };
        let memberships = page.items.into_iter().map(place).collect();
        Ok(pb::ListOrgsResponse { memberships, next_page_token: page.next_page_token })
    }

    async fn update_org(&self, request: Request<pb::UpdateOrgRequest>) -> Result<pb::UpdateOrgResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::UpdateOrgRequest { idempotency_key: _, display_name, limits } = request;
            display_name.as_deref().map_or(Ok(()), check_display_name)?;
            let limits = limits.map(|limits| limits.from_wire("limits")).transpose()?;
            Ok(OrgChange { display_name, limits })
        };
        let updated = self.mutate(By::Member(caller), request.into_inner(), read, move |tx, change| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                let org = orgs::update(tx, caller.org, &change).await?;
                Ok(Done::quiet(pb::UpdateOrgResponse { org: Some(encode::org(org)), replayed: false }))
            })
        });
        let updated = updated.await?;
        // There may be more room now. Replicas elsewhere look by themselves before long.
        self.ready.work();
        Ok(updated)
    }

    async fn delete_org(&self, request: Request<pb::DeleteOrgRequest>) -> Result<pb::DeleteOrgResponse> {
        let caller = auth::caller(&request)?;
        let read = |pb::DeleteOrgRequest { idempotency_key: _ }| Ok(());
        self.mutate(By::FormerMember(caller), request.into_inner(), read, move |tx, ()| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                orgs::delete(tx, caller.org).await?;
                Ok(Done::quiet(pb::DeleteOrgResponse { replayed: false }))
            })
        })
        .await
    }

    /// What this mesh runs on.
    async fn mesh_info(&self) -> Result<pb::MeshInfo> {
        let Schema { newest, known, min_compatible, missing } = self.db.schema().await?;
        Ok(pb::MeshInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            postgres_version: self.db.server_version().await?,
            nats_version: self.bus.server_version(),
            migration_version: newest,
            known_migration_version: known,
            min_compatible_migration: min_compatible,
            missing_migrations: missing.into_iter().collect(),
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
        let read = |request: pb::PutMemberRequest| {
            let user: UserId = id("user_id", &request.user_id)?;
            let role = match request.role() {
                pb::member::Role::Unspecified => return Err(Refusal::field("role", "is required").into()),
                pb::member::Role::Member => MemberRole::Member,
                pb::member::Role::Admin => MemberRole::Admin,
            };
            Ok((user, role))
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, (user, role)| {
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
        let read = |request| {
            let pb::RemoveMemberRequest { idempotency_key: _, user_id } = request;
            Ok(id::<UserId>("user_id", &user_id)?)
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, user| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                orgs::remove_member(tx, caller.org, user).await?;
                Ok(Done::quiet(pb::RemoveMemberResponse { replayed: false }))
            })
        })
        .await
    }
}
