//! The caller's orgs, the org of the client, and its members.

use super::page::{Page, Paging};
use crate::client::Client;
use crate::error::ClientError;
use crate::key;
use runmesh_domain::id::UserId;
use runmesh_wire::convert::required;
use runmesh_wire::pb::org as pb;
use runmesh_wire::pb::org::org_service_client::OrgServiceClient;

impl Client {
    /// The org of the caller and the caller's place in it.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn get_org(&self) -> Result<pb::GetOrgResponse, ClientError> {
        let call = |channel, request| async move { OrgServiceClient::new(channel).get_org(request).await };
        self.unary(pb::GetOrgRequest { show_streams: false }, call).await
    }

    /// As [`Client::get_org`], with the streams in NATS: for who looks after a mesh.
    ///
    /// # Errors
    /// As [`Client::get_org`].
    pub async fn get_org_and_streams(&self) -> Result<pb::GetOrgResponse, ClientError> {
        let call = |channel, request| async move { OrgServiceClient::new(channel).get_org(request).await };
        self.unary(pb::GetOrgRequest { show_streams: true }, call).await
    }

    /// The orgs that the caller is a member of, by name, whichever org the client is for.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_orgs(&self, paging: Paging) -> Result<Page<pb::Membership>, ClientError> {
        let message = pb::ListOrgsRequest { page_size: paging.wire_size(), page_token: paging.token };
        let call = |channel, request| async move { OrgServiceClient::new(channel).list_orgs(request).await };
        let pb::ListOrgsResponse { memberships, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(memberships, next_page_token))
    }

    /// Makes an org; the caller becomes its first admin.
    ///
    /// # Errors
    /// `NAME_TAKEN`, `INVALID_FIELD`, `PERMISSION_DENIED`, and those of every call.
    pub async fn create_org(&self, name: &str, display_name: &str) -> Result<pb::Org, ClientError> {
        let (name, display_name) = (name.to_owned(), display_name.to_owned());
        let message = pb::CreateOrgRequest { idempotency_key: key::new(), name, display_name };
        let call = |channel, request| async move { OrgServiceClient::new(channel).create_org(request).await };
        Ok(required("org", self.unary(message, call).await?.org)?)
    }

    /// Changes what the client's org says of itself: its display name, and all its limits, where given.
    ///
    /// # Errors
    /// `INVALID_FIELD`, `PERMISSION_DENIED`, and those of every call.
    pub async fn update_org(&self, display_name: Option<String>, limits: Option<pb::OrgLimits>) -> Result<pb::Org, ClientError> {
        let message = pb::UpdateOrgRequest { idempotency_key: key::new(), display_name, limits };
        let call = |channel, request| async move { OrgServiceClient::new(channel).update_org(request).await };
        Ok(required("org", self.unary(message, call).await?.org)?)
    }

    /// Deletes the client's org, for good.
    ///
    /// # Errors
    /// `CONFLICT` while a run of it has not ended, `PERMISSION_DENIED`, and those of every call.
    pub async fn delete_org(&self) -> Result<(), ClientError> {
        let message = pb::DeleteOrgRequest { idempotency_key: key::new() };
        let call = |channel, request| async move { OrgServiceClient::new(channel).delete_org(request).await };
        self.unary(message, call).await.map(|_| ())
    }

    /// The org's members, oldest first.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_members(&self, paging: Paging) -> Result<Page<pb::Member>, ClientError> {
        let message = pb::ListMembersRequest { page_size: paging.wire_size(), page_token: paging.token };
        let call = |channel, request| async move { OrgServiceClient::new(channel).list_members(request).await };
        let pb::ListMembersResponse { members, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(members, next_page_token))
    }

    /// Adds a person to the org or changes their role.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `INVALID_FIELD`, and those of every call.
    pub async fn put_member(&self, user: UserId, role: pb::member::Role) -> Result<pb::Member, ClientError> {
        let message = pb::PutMemberRequest { idempotency_key: key::new(), user_id: user.to_string(), role: role.into() };
        let call = |channel, request| async move { OrgServiceClient::new(channel).put_member(request).await };
        Ok(required("member", self.unary(message, call).await?.member)?)
    }

    /// Removes a person from the org.
    ///
    /// # Errors
    /// `NOT_FOUND`, `CONFLICT` for the last admin, `PERMISSION_DENIED`, and those of every call.
    pub async fn remove_member(&self, user: UserId) -> Result<(), ClientError> {
        let message = pb::RemoveMemberRequest { idempotency_key: key::new(), user_id: user.to_string() };
        let call = |channel, request| async move { OrgServiceClient::new(channel).remove_member(request).await };
        self.unary(message, call).await.map(|_| ())
    }
}
