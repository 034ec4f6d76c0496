//! ThreadService.

use super::{answer, page};
use crate::commands::threads::{CreateThread, DeleteThread, FindThreads, GetThread, ListMessages, UpdateTitle};
use crate::ids::new_uuid;
use crate::{encode, principal};
use runmesh_command::{By, Caller, Commands, Idempotent};
use runmesh_domain::id::ThreadId;
use runmesh_domain::{Refusal, Result, limits, text};
use runmesh_store::agents::AgentRef;
use runmesh_store::threads::{ListThreads, NewThread, Thread};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::id;
use runmesh_wire::pb::thread as pb;
use tonic::{Request, Response, Status};

/// Serves ThreadService.
pub struct ThreadApi {
    pub commands: Commands,
}

#[tonic::async_trait]
impl pb::thread_service_server::ThreadService for ThreadApi {
    async fn create_thread(
        &self,
        request: Request<pb::CreateThreadRequest>,
    ) -> Result<Response<pb::CreateThreadResponse>, Status> {
        answer(self.create(request).await)
    }

    async fn get_thread(&self, request: Request<pb::GetThreadRequest>) -> Result<Response<pb::GetThreadResponse>, Status> {
        answer(self.get(request).await)
    }

    async fn list_threads(&self, request: Request<pb::ListThreadsRequest>) -> Result<Response<pb::ListThreadsResponse>, Status> {
        answer(self.list(request).await)
    }

    async fn update_thread(
        &self,
        request: Request<pb::UpdateThreadRequest>,
    ) -> Result<Response<pb::UpdateThreadResponse>, Status> {
        answer(self.update(request).await)
    }

    async fn delete_thread(
        &self,
        request: Request<pb::DeleteThreadRequest>,
    ) -> Result<Response<pb::DeleteThreadResponse>, Status> {
        answer(self.delete(request).await)
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        answer(self.messages(request).await)
    }
}

fn decode_create(caller: Caller, request: pb::CreateThreadRequest) -> Result<CreateThread> {
    let pb::CreateThreadRequest { idempotency_key: _, agent, title } = request;
    text::at_most_chars("title", &title, limits::TITLE_CHARS_MAX)?;
    text::at_most_bytes("agent", &agent, limits::NAME_BYTES_MAX)?;
    let agent = (!agent.is_empty()).then(|| AgentRef::parse(&agent));
    let id = ThreadId::from_uuid(new_uuid());
    Ok(CreateThread { new: NewThread { id, org: caller.org, user: caller.user, agent, title } })
}

fn decode_update(caller: Caller, request: pb::UpdateThreadRequest) -> Result<UpdateTitle> {
    let pb::UpdateThreadRequest { idempotency_key: _, thread_id, title } = request;
    let thread: ThreadId = id("thread_id", &thread_id)?;
    text::at_most_chars("title", &title, limits::TITLE_CHARS_MAX)?;
    if title.trim().is_empty() {
        return Err(Refusal::field("title", "is required").into());
    }
    Ok(UpdateTitle { org: caller.org, user: caller.user, thread, title })
}

fn decode_delete(caller: Caller, request: pb::DeleteThreadRequest) -> Result<DeleteThread> {
    let pb::DeleteThreadRequest { idempotency_key: _, thread_id } = request;
    Ok(DeleteThread { org: caller.org, user: caller.user, thread: id("thread_id", &thread_id)? })
}

impl ThreadApi {
    async fn create(&self, request: Request<pb::CreateThreadRequest>) -> Result<pb::CreateThreadResponse> {
        let caller = principal::caller(&request)?;
        let encode = |row: Thread| pb::CreateThreadResponse { thread: Some(encode::thread(row)), replayed: false };
        let decode = |request| decode_create(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn get(&self, request: Request<pb::GetThreadRequest>) -> Result<pb::GetThreadResponse> {
        let caller = principal::caller(&request)?;
        let pb::GetThreadRequest { thread_id } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let row = self.commands.read(caller, GetThread { org: caller.org, thread }).await?;
        Ok(pb::GetThreadResponse { thread: Some(encode::thread(row)) })
    }

    async fn list(&self, request: Request<pb::ListThreadsRequest>) -> Result<pb::ListThreadsResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListThreadsRequest { page_size: size, page_token, agent_id, mine } = request.into_inner();
        let agent = (!agent_id.is_empty()).then(|| id("agent_id", &agent_id)).transpose()?;
        let wanted = ListThreads { page: page(size, page_token)?, agent, user: mine.then_some(caller.user) };
        let page = self.commands.read(caller, FindThreads { org: caller.org, wanted }).await?;
        let threads = page.items.into_iter().map(encode::thread).collect();
        Ok(pb::ListThreadsResponse { threads, next_page_token: page.next_page_token })
    }

    async fn update(&self, request: Request<pb::UpdateThreadRequest>) -> Result<pb::UpdateThreadResponse> {
        let caller = principal::caller(&request)?;
        let encode = |row: Thread| pb::UpdateThreadResponse { thread: Some(encode::thread(row)), replayed: false };
        let decode = |request| decode_update(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn delete(&self, request: Request<pb::DeleteThreadRequest>) -> Result<pb::DeleteThreadResponse> {
        let caller = principal::caller(&request)?;
        let encode = |()| pb::DeleteThreadResponse { replayed: false };
        let decode = |request| decode_delete(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn messages(&self, request: Request<pb::ListMessagesRequest>) -> Result<pb::ListMessagesResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListMessagesRequest { thread_id, page_size: size, page_token } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let page = page(size, page_token)?;
        let page = self.commands.read(caller, ListMessages { org: caller.org, thread, page }).await?;
        let messages = page.items.into_iter().map(|message| message.shown().into_wire()).collect();
        Ok(pb::ListMessagesResponse { messages, next_page_token: page.next_page_token })
    }
}
