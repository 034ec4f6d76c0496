//! ThreadService.

use super::{Api, Done, answer, page};
use crate::auth;
use crate::encode;
use crate::idempotent::By;
use crate::mesh::{Mesh, new_uuid};
use runmesh_domain::id::ThreadId;
use runmesh_domain::{Refusal, Result, limits, text};
use runmesh_store::agents::AgentRef;
use runmesh_store::threads::{self, ListThreads, NewThread};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::id;
use runmesh_wire::pb::thread as pb;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::thread_service_server::ThreadService for Api {
    async fn create_thread(
        &self,
        request: Request<pb::CreateThreadRequest>,
    ) -> Result<Response<pb::CreateThreadResponse>, Status> {
        answer(self.0.create_thread(request).await)
    }

    async fn get_thread(&self, request: Request<pb::GetThreadRequest>) -> Result<Response<pb::GetThreadResponse>, Status> {
        answer(self.0.get_thread(request).await)
    }

    async fn list_threads(&self, request: Request<pb::ListThreadsRequest>) -> Result<Response<pb::ListThreadsResponse>, Status> {
        answer(self.0.list_threads(request).await)
    }

    async fn update_thread(
        &self,
        request: Request<pb::UpdateThreadRequest>,
    ) -> Result<Response<pb::UpdateThreadResponse>, Status> {
        answer(self.0.update_thread(request).await)
    }

    async fn delete_thread(
        &self,
        request: Request<pb::DeleteThreadRequest>,
    ) -> Result<Response<pb::DeleteThreadResponse>, Status> {
        answer(self.0.delete_thread(request).await)
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        answer(self.0.list_messages(request).await)
    }
}

impl Mesh {
    async fn create_thread(&self, request: Request<pb::CreateThreadRequest>) -> Result<pb::CreateThreadResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::CreateThreadRequest { idempotency_key: _, agent, title } = request;
            text::at_most_chars("title", &title, limits::TITLE_CHARS_MAX)?;
            text::at_most_bytes("agent", &agent, limits::NAME_BYTES_MAX)?;
            let agent = (!agent.is_empty()).then(|| AgentRef::parse(&agent));
            Ok(NewThread { id: ThreadId::from_uuid(new_uuid()), org: caller.org, user: caller.user, agent, title })
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, new| {
            Box::pin(async move {
                let thread = threads::create(tx, new).await?;
                Ok(Done::quiet(pb::CreateThreadResponse { thread: Some(encode::thread(thread)), replayed: false }))
            })
        })
        .await
    }

    async fn get_thread(&self, request: Request<pb::GetThreadRequest>) -> Result<pb::GetThreadResponse> {
        let caller = auth::caller(&request)?;
        let pb::GetThreadRequest { thread_id } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let row = self.read(caller, move |tx| Box::pin(async move { threads::get(tx, caller.org, thread).await })).await?;
        Ok(pb::GetThreadResponse { thread: Some(encode::thread(row)) })
    }

    async fn list_threads(&self, request: Request<pb::ListThreadsRequest>) -> Result<pb::ListThreadsResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListThreadsRequest { page_size: size, page_token, agent_id, mine } = request.into_inner();
        let agent = (!agent_id.is_empty()).then(|| id("agent_id", &agent_id)).transpose()?;
        let wanted = ListThreads { page: page(size, page_token)?, agent, user: mine.then_some(caller.user) };
        let page = self
            .read(caller, move |tx| {
                let wanted = wanted.clone();
                Box::pin(async move { threads::list(tx, caller.org, &wanted).await })
            })
            .await?;
        let threads = page.items.into_iter().map(encode::thread).collect();
        Ok(pb::ListThreadsResponse { threads, next_page_token: page.next_page_token })
    }

    async fn update_thread(&self, request: Request<pb::UpdateThreadRequest>) -> Result<pb::UpdateThreadResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::UpdateThreadRequest { idempotency_key: _, thread_id, title } = request;
            let thread: ThreadId = id("thread_id", &thread_id)?;
            text::at_most_chars("title", &title, limits::TITLE_CHARS_MAX)?;
            if title.trim().is_empty() {
                return Err(Refusal::field("title", "is required").into());
            }
            Ok((thread, title))
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, (thread, title)| {
            Box::pin(async move {
                let row = threads::update_title(tx, caller.org, caller.user, thread, &title).await?;
                Ok(Done::quiet(pb::UpdateThreadResponse { thread: Some(encode::thread(row)), replayed: false }))
            })
        })
        .await
    }

    async fn delete_thread(&self, request: Request<pb::DeleteThreadRequest>) -> Result<pb::DeleteThreadResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::DeleteThreadRequest { idempotency_key: _, thread_id } = request;
            Ok(id::<ThreadId>("thread_id", &thread_id)?)
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, thread| {
            Box::pin(async move {
                let (ended, committed) = threads::delete(tx, caller.org, caller.user, thread).await?;
                Ok(Done::with(pb::DeleteThreadResponse { replayed: false }, committed).hinting(&ended))
            })
        })
        .await
    }

    async fn list_messages(&self, request: Request<pb::ListMessagesRequest>) -> Result<pb::ListMessagesResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListMessagesRequest { thread_id, page_size: size, page_token } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let page = page(size, page_token)?;
        let page = self
            .read(caller, move |tx| {
                let page = page.clone();
                Box::pin(async move { threads::messages(tx, caller.org, thread, &page).await })
            })
            .await?;
        let messages = page.items.into_iter().map(|message| message.shown().into_wire()).collect();
        Ok(pb::ListMessagesResponse { messages, next_page_token: page.next_page_token })
    }
}
