//! Threads and their messages.

use super::page::{Page, Paging};
use crate::client::Client;
use crate::error::ClientError;
use crate::key;
use runmesh_domain::id::{AgentId, ThreadId};
use runmesh_domain::message::{Message, add_page};
use runmesh_wire::convert::{id, list, required};
use runmesh_wire::pb::thread as pb;
use runmesh_wire::pb::thread::thread_service_client::ThreadServiceClient;

impl Client {
    /// Opens a thread with `agent`, an id or a name; the org's agent `default` when empty. `title` may be empty.
    ///
    /// # Errors
    /// `NOT_FOUND` for the agent, `AGENT_DELETED`, `INVALID_FIELD`, and those of every call.
    pub async fn create_thread(&self, agent: &str, title: &str) -> Result<ThreadId, ClientError> {
        let message = pb::CreateThreadRequest { idempotency_key: key::new(), agent: agent.to_owned(), title: title.to_owned() };
        let call = |channel, request| async move { ThreadServiceClient::new(channel).create_thread(request).await };
        let thread = required("thread", self.unary(message, call).await?.thread)?;
        Ok(id("thread.thread_id", &thread.thread_id)?)
    }

    /// One thread.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn get_thread(&self, thread: ThreadId) -> Result<pb::Thread, ClientError> {
        let message = pb::GetThreadRequest { thread_id: thread.to_string() };
        let call = |channel, request| async move { ThreadServiceClient::new(channel).get_thread(request).await };
        Ok(required("thread", self.unary(message, call).await?.thread)?)
    }

    /// The org's threads, newest change first: only those with `agent`, when given, and only the caller's, when `mine`.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_threads(
        &self,
        agent: Option<AgentId>,
        mine: bool,
        paging: Paging,
    ) -> Result<Page<pb::Thread>, ClientError> {
        let message = pb::ListThreadsRequest {
            page_size: paging.wire_size(),
            page_token: paging.token,
            agent_id: agent.map(|agent| agent.to_string()).unwrap_or_default(),
            mine,
        };
        let call = |channel, request| async move { ThreadServiceClient::new(channel).list_threads(request).await };
        let pb::ListThreadsResponse { threads, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(threads, next_page_token))
    }

    /// Gives a thread another title.
    ///
    /// # Errors
    /// `NOT_FOUND`, `PERMISSION_DENIED`, `INVALID_FIELD`, and those of every call.
    pub async fn update_thread(&self, thread: ThreadId, title: &str) -> Result<pb::Thread, ClientError> {
        let message =
            pb::UpdateThreadRequest { idempotency_key: key::new(), thread_id: thread.to_string(), title: title.to_owned() };
        let call = |channel, request| async move { ThreadServiceClient::new(channel).update_thread(request).await };
        Ok(required("thread", self.unary(message, call).await?.thread)?)
    }

    /// Deletes a thread and cancels its open runs.
    ///
    /// # Errors
    /// `NOT_FOUND`, `PERMISSION_DENIED`, and those of every call.
    pub async fn delete_thread(&self, thread: ThreadId) -> Result<(), ClientError> {
        let message = pb::DeleteThreadRequest { idempotency_key: key::new(), thread_id: thread.to_string() };
        let call = |channel, request| async move { ThreadServiceClient::new(channel).delete_thread(request).await };
        self.unary(message, call).await.map(|_| ())
    }

    /// A thread's whole conversation in order, however many pages that is.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn messages(&self, thread: ThreadId) -> Result<Vec<Message>, ClientError> {
        let (mut messages, mut paging) = (Vec::new(), Some(Paging::default()));
        while let Some(wanted) = paging {
            let page = self.list_messages(thread, wanted).await?;
            paging = page.following(0);
            add_page(&mut messages, page.items);
        }
        Ok(messages)
    }

    /// A thread's messages in the order of the conversation. A page ends early when they are long; one that begins with the
    /// message that the page before ended with holds that message's further parts.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn list_messages(&self, thread: ThreadId, paging: Paging) -> Result<Page<Message>, ClientError> {
        let message =
            pb::ListMessagesRequest { thread_id: thread.to_string(), page_size: paging.wire_size(), page_token: paging.token };
        let call = |channel, request| async move { ThreadServiceClient::new(channel).list_messages(request).await };
        let pb::ListMessagesResponse { messages, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(list("messages", messages)?, next_page_token))
    }
}
