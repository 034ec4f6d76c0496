//! OrgService.

use super::{answer, page};
use crate::commands::orgs::{CreateOrg, DeleteOrg, GetOrg, ListMembers, ListOrgs, PutMember, RemoveMember, UpdateOrg};
use crate::founding::Founding;
use crate::{encode, principal};
use runmesh_bus::Bus;
use runmesh_command::{AdminOnly, By, Caller, Commands, Idempotent, Person, WorkSignal};
use runmesh_domain::id::UserId;
use runmesh_domain::{Error, Fault, Refusal, Result, limits, text};
use runmesh_store::orgs::{Member, MemberRole, NewOrg, Org, OrgChange};
use runmesh_store::{Db, Schema, Scope};
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::id;
use runmesh_wire::pb::org as pb;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves OrgService.
pub struct OrgApi {
    pub commands: Commands,
    pub founding: Arc<Founding>,
    pub work: Arc<WorkSignal>,
    /// For what it runs on, and for what a person is in every org.
    pub db: Db,
    pub bus: Bus,
}

#[tonic::async_trait]
impl pb::org_service_server::OrgService for OrgApi {
    async fn get_org(&self, request: Request<pb::GetOrgRequest>) -> Result<Response<pb::GetOrgResponse>, Status> {
        answer(self.get(request).await)
    }

    async fn create_org(&self, request: Request<pb::CreateOrgRequest>) -> Result<Response<pb::CreateOrgResponse>, Status> {
        answer(self.create(request).await)
    }

    async fn list_orgs(&self, request: Request<pb::ListOrgsRequest>) -> Result<Response<pb::ListOrgsResponse>, Status> {
        answer(self.list(request).await)
    }

    async fn update_org(&self, request: Request<pb::UpdateOrgRequest>) -> Result<Response<pb::UpdateOrgResponse>, Status> {
        answer(self.update(request).await)
    }

    async fn delete_org(&self, request: Request<pb::DeleteOrgRequest>) -> Result<Response<pb::DeleteOrgResponse>, Status> {
        answer(self.delete(request).await)
    }

    async fn list_members(&self, request: Request<pb::ListMembersRequest>) -> Result<Response<pb::ListMembersResponse>, Status> {
        answer(self.members(request).await)
    }

    async fn put_member(&self, request: Request<pb::PutMemberRequest>) -> Result<Response<pb::PutMemberResponse>, Status> {
        answer(self.put(request).await)
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        answer(self.remove(request).await)
    }
}

fn check_display_name(text: &str) -> Result<()> {
    Ok(text::at_most_chars("display_name", text, limits::DISPLAY_NAME_CHARS_MAX)?)
}

fn decode_create(founding: Arc<Founding>, admin: UserId, request: pb::CreateOrgRequest) -> Result<CreateOrg> {
    let pb::CreateOrgRequest { idempotency_key: _, name, display_name } = request;
    text::org_name("name", &name)?;
    check_display_name(&display_name)?;
    Ok(CreateOrg { founding, new: NewOrg { name, display_name }, admin })
}

fn encode_created((org, member): (Org, Option<Member>)) -> pb::CreateOrgResponse {
    pb::CreateOrgResponse { org: Some(encode::org(org)), member: member.map(encode::member), replayed: false }
}

fn decode_update(caller: Caller, request: pb::UpdateOrgRequest) -> Result<AdminOnly<UpdateOrg>> {
    let pb::UpdateOrgRequest { idempotency_key: _, display_name, limits } = request;
    display_name.as_deref().map_or(Ok(()), check_display_name)?;
    let limits = limits.map(|limits| limits.from_wire("limits")).transpose()?;
    Ok(AdminOnly { caller, command: UpdateOrg { org: caller.org, change: OrgChange { display_name, limits } } })
}

fn decode_put_member(caller: Caller, request: pb::PutMemberRequest) -> Result<AdminOnly<PutMember>> {
    let user: UserId = id("user_id", &request.user_id)?;
    let role = match request.role() {
        pb::member::Role::Unspecified => return Err(Refusal::field("role", "is required").into()),
        pb::member::Role::Member => MemberRole::Member,
        pb::member::Role::Admin => MemberRole::Admin,
    };
    Ok(AdminOnly { caller, command: PutMember { org: caller.org, user, role } })
}

fn decode_remove_member(caller: Caller, request: pb::RemoveMemberRequest) -> Result<AdminOnly<RemoveMember>> {
    let pb::RemoveMemberRequest { idempotency_key: _, user_id } = request;
    Ok(AdminOnly { caller, command: RemoveMember { org: caller.org, user: id("user_id", &user_id)? } })
}

impl OrgApi {
    async fn get(&self, request: Request<pb::GetOrgRequest>) -> Result<pb::GetOrgResponse> {
        let caller = principal::caller(&request)?;
        let pb::GetOrgRequest { show_streams } = request.into_inner();
        let (org, member) = self.commands.read(caller, GetOrg { org: caller.org, user: caller.user }).await?;
        let mut mesh = self.mesh_info().await?;
        if show_streams {
            self.show_streams(caller.user, &mut mesh).await;
        }
        Ok(pb::GetOrgResponse { org: Some(encode::org(org)), member: member.map(encode::member), mesh: Some(mesh) })
    }

    async fn create(&self, request: Request<pb::CreateOrgRequest>) -> Result<pb::CreateOrgResponse> {
        // Which orgs the token names plays no part: what may be made is not theirs to say.
        let Person { user, orgs: _ } = principal::person(&request)?;
        self.founding.check(user)?;
        let founding = Arc::clone(&self.founding);
        let decode = |request| decode_create(founding, user, request);
        self.commands.mutate(Idempotent::new(By::Person(user), request.into_inner(), decode, encode_created)?).await
    }

    async fn list(&self, request: Request<pb::ListOrgsRequest>) -> Result<pb::ListOrgsResponse> {
        let Person { user, orgs: among } = principal::person(&request)?;
        let pb::ListOrgsRequest { page_size: size, page_token } = request.into_inner();
        let page = page(size, page_token)?;
        let page = self.db.run_read(Scope::Person(user), ListOrgs { user, among, page }).await?;
        let place = |(org, member)| pb::Membership { org: Some(encode::org(org)), member: Some(encode::member(member)) };
        let memberships = page.items.into_iter().map(place).collect();
        Ok(pb::ListOrgsResponse { memberships, next_page_token: page.next_page_token })
    }

    async fn update(&self, request: Request<pb::UpdateOrgRequest>) -> Result<pb::UpdateOrgResponse> {
        let caller = principal::caller(&request)?;
        let encode = |org: Org| pb::UpdateOrgResponse { org: Some(encode::org(org)), replayed: false };
        let decode = |request| decode_update(caller, request);
        let call = Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?;
        let updated = self.commands.mutate(call).await?;
        // There may be more room now. Replicas elsewhere look by themselves before long.
        self.work.work_arrived();
        Ok(updated)
    }

    async fn delete(&self, request: Request<pb::DeleteOrgRequest>) -> Result<pb::DeleteOrgResponse> {
        let caller = principal::caller(&request)?;
        let decode =
            |pb::DeleteOrgRequest { idempotency_key: _ }| Ok(AdminOnly { caller, command: DeleteOrg { org: caller.org } });
        let encode = |()| pb::DeleteOrgResponse { replayed: false };
        self.commands.mutate(Idempotent::new(By::FormerMember(caller), request.into_inner(), decode, encode)?).await
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
            streams: Vec::new(),
            streams_problem: String::new(),
            streams_hidden: false,
        })
    }

    /// Adds the streams, which say something about all orgs, for those whom the settings trust with that; or why they are not shown.
    /// An org is answered for without NATS too.
    async fn show_streams(&self, user: UserId, mesh: &mut pb::MeshInfo) {
        if !self.founding.names(user) {
            mesh.streams_hidden = true;
            mesh.streams_problem = "only persons whom the setting org_creators of the run-orchestrator names see them".to_owned();
            return;
        }
        match self.bus.streams().await {
            Ok(streams) => mesh.streams = streams.into_iter().map(encode::stream).collect(),
            Err(Error::Fault(Fault::Unavailable { part: _, detail })) => mesh.streams_problem = detail,
            Err(error) => mesh.streams_problem = error.to_string(),
        }
    }

    async fn members(&self, request: Request<pb::ListMembersRequest>) -> Result<pb::ListMembersResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListMembersRequest { page_size: size, page_token } = request.into_inner();
        let page = self.commands.read(caller, ListMembers { org: caller.org, page: page(size, page_token)? }).await?;
        let members = page.items.into_iter().map(encode::member).collect();
        Ok(pb::ListMembersResponse { members, next_page_token: page.next_page_token })
    }

    async fn put(&self, request: Request<pb::PutMemberRequest>) -> Result<pb::PutMemberResponse> {
        let caller = principal::caller(&request)?;
        let encode = |row: Member| pb::PutMemberResponse { member: Some(encode::member(row)), replayed: false };
        let decode = |request| decode_put_member(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn remove(&self, request: Request<pb::RemoveMemberRequest>) -> Result<pb::RemoveMemberResponse> {
        let caller = principal::caller(&request)?;
        let encode = |()| pb::RemoveMemberResponse { replayed: false };
        let decode = |request| decode_remove_member(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }
}
