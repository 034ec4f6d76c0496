//! What a person can do next about an error. Words only; the rules are elsewhere.

use super::ClientError;
use runmesh_domain::Reason;
use tonic::Code;

pub(super) fn of(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Address { .. } => Some("give the gateway's address, for instance --address http://127.0.0.1:7420".into()),
        ClientError::Credential { .. } => Some("check --token and --org for line breaks and odd characters".into()),
        ClientError::Unreachable { .. } | ClientError::GaveUp { .. } | ClientError::Interrupted { .. } => {
            Some("runmesh doctor, or start a mesh with: runmesh dev".into())
        }
        ClientError::DeadlineExceeded { .. } => Some("the same command again is safe; runmesh doctor shows what is slow".into()),
        ClientError::Protocol { .. } => Some("runmesh doctor; the versions of command line and mesh may differ".into()),
        ClientError::NoRuntime => None,
        ClientError::Status(status) => match error.reason() {
            Some(reason) => of_reason(error, reason),
            None if status.code() == Code::Unavailable => Some("runmesh doctor".into()),
            None => Some("is this the address of a runmesh gateway? runmesh doctor".into()),
        },
    }
}

fn of_reason(error: &ClientError, reason: Reason) -> Option<String> {
    let hint = match reason {
        Reason::NotFound => return not_found(error),
        Reason::ThreadBusy => return Some(thread_busy(error)),
        Reason::QueueLimit | Reason::RateLimit | Reason::Overloaded | Reason::ViewerLimit => return Some(later(error)),
        Reason::PermissionDenied | Reason::TokenMismatch => "ask an admin of the org",
        Reason::Unauthenticated => "pass --token or set RUNMESH_TOKEN; in development `runmesh token` prints one",
        Reason::TokenExpired => "get a new token; in development `runmesh token` prints one",
        Reason::IdempotencyKeyReused => "use a new key for a new message",
        Reason::ModelNotConfigured => "name a model in the agent's definition and run: runmesh agents apply -f agent.yaml",
        Reason::AgentDeleted => "start a new thread with another agent: runmesh chat --agent NAME",
        Reason::InvalidCursor => "leave out --cursor to start from a snapshot",
        Reason::Conflict => "somebody changed it meanwhile; look at it again and repeat",
        Reason::NameTaken => "choose another name, or update what bears it",
        Reason::UnknownMethod => "the mesh is older or newer than this command line: runmesh doctor",
        Reason::Unavailable | Reason::Draining => "again in a moment; runmesh doctor shows what is away",
        Reason::DeadlineExceeded | Reason::Cancelled => "the same command again is safe; runmesh doctor shows what is slow",
        Reason::Internal => "the logs of the mesh say more; runmesh doctor",
        Reason::InvalidField
        | Reason::MalformedMessage
        | Reason::MessageTooLarge
        | Reason::Fenced
        | Reason::RunFinished
        | Reason::StepConflict
        | Reason::CallNotAllowed
        | Reason::JournalLimit
        | Reason::SessionLost => return None,
    };
    Some(hint.to_owned())
}

fn not_found(error: &ClientError) -> Option<String> {
    let message = error.to_string();
    let command = ["run", "thread", "agent", "member", "org"].into_iter().find(|noun| message.contains(noun))?;
    Some(format!("runmesh {command}s lists what there is"))
}

fn thread_busy(error: &ClientError) -> String {
    match error.run_id() {
        Some(run) => format!("runmesh attach {run}, or end it with: runmesh cancel {run}"),
        None => "wait for the run that holds the thread".to_owned(),
    }
}

fn later(error: &ClientError) -> String {
    match error.retry_after() {
        Some(after) => format!("again in {} s", after.as_secs().max(1)),
        None => "again in a moment".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Refusal;
    use runmesh_domain::id::RunId;
    use runmesh_wire::status;

    fn hint(refusal: &Refusal) -> String {
        ClientError::Status(status::of_refusal(refusal)).hint().unwrap_or_default()
    }

    #[test]
    fn the_common_ones_say_what_to_do() {
        let run = RunId::derived(&[b"r"]);
        assert!(hint(&Refusal::ThreadBusy { run }).contains(&format!("runmesh cancel {run}")));
        assert_eq!(hint(&Refusal::NotFound { what: "thread" }), "runmesh threads lists what there is");
        assert_eq!(hint(&Refusal::NotFound { what: "org" }), "runmesh orgs lists what there is");
        assert!(hint(&Refusal::ModelNotConfigured).contains("agents apply"));
        assert_eq!(hint(&Refusal::field("text", "is empty")), "", "the message names the field");
    }
}
