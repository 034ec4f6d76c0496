//! The methods that take an idempotency key, with their requests and answers.

use prost::Message;
use runmesh_wire::pb;

/// A request with an idempotency key.
pub trait Mutation: Message + 'static {
    /// The method's own name, under which its keys are kept. It never changes.
    const METHOD: &'static str;
    /// Its response.
    type Answer: Replayable;
    /// Takes the key out; what is left is the body.
    fn take_key(&mut self) -> String;
}

/// A response that can say that it is the answer of an earlier call.
pub trait Replayable: Message + Default + Clone + 'static {
    /// Says so.
    fn mark_replayed(&mut self);
}

macro_rules! mutations {
    ($($method:literal: $request:path => $answer:path;)*) => {$(
        impl Mutation for $request {
            const METHOD: &'static str = $method;
            type Answer = $answer;

            fn take_key(&mut self) -> String {
                std::mem::take(&mut self.idempotency_key)
            }
        }

        impl Replayable for $answer {
            fn mark_replayed(&mut self) {
                self.replayed = true;
            }
        }
    )*};
}

mutations! {
    "SendMessage": pb::run::SendMessageRequest => pb::run::SendMessageResponse;
    "CancelRun": pb::run::CancelRunRequest => pb::run::CancelRunResponse;
    "CreateThread": pb::thread::CreateThreadRequest => pb::thread::CreateThreadResponse;
    "UpdateThread": pb::thread::UpdateThreadRequest => pb::thread::UpdateThreadResponse;
    "DeleteThread": pb::thread::DeleteThreadRequest => pb::thread::DeleteThreadResponse;
    "CreateAgent": pb::agent::CreateAgentRequest => pb::agent::CreateAgentResponse;
    "UpdateAgent": pb::agent::UpdateAgentRequest => pb::agent::UpdateAgentResponse;
    "DeleteAgent": pb::agent::DeleteAgentRequest => pb::agent::DeleteAgentResponse;
    "CreateOrg": pb::org::CreateOrgRequest => pb::org::CreateOrgResponse;
    "UpdateOrg": pb::org::UpdateOrgRequest => pb::org::UpdateOrgResponse;
    "DeleteOrg": pb::org::DeleteOrgRequest => pb::org::DeleteOrgResponse;
    "PutMember": pb::org::PutMemberRequest => pb::org::PutMemberResponse;
    "RemoveMember": pb::org::RemoveMemberRequest => pb::org::RemoveMemberResponse;
}
