//! Words for what the wire says in numbers, and what to do about a run that failed.

use runmesh_client::pb::run as pb;
use runmesh_domain::run::StateName;
use runmesh_wire::FromWire as _;

/// The state of the wire, when this version knows it.
pub fn state(state: pb::run::State) -> Option<StateName> {
    state.from_wire("state").ok()
}

/// Its name.
pub fn state_text(wire: pb::run::State) -> &'static str {
    state(wire).map_or("unknown", StateName::name)
}

/// A state as a person types it.
pub fn parse_state(text: &str) -> Result<StateName, String> {
    StateName::from_name(&text.to_lowercase()).ok_or_else(|| {
        let names: Vec<_> = StateName::ALL.into_iter().map(StateName::name).collect();
        format!("want one of {}", names.join(", "))
    })
}

/// What keeps a READY run waiting.
pub const fn blocked_by(blocked: pb::run::BlockedBy) -> Option<&'static str> {
    match blocked {
        pb::run::BlockedBy::Unspecified => None,
        pb::run::BlockedBy::UserLimit => Some("you have as many runs going as allowed"),
        pb::run::BlockedBy::OrgLimit => Some("the org has as many runs going as allowed"),
        pb::run::BlockedBy::NoCapableWorker => Some("no connected worker serves this agent"),
        pb::run::BlockedBy::SetAside => {
            Some("set aside: a part of it cannot be read; the log says which, `runmesh cancel` ends it")
        }
    }
}

/// What a run waits for or why it ended so, in a few words.
pub fn note(run: &pb::Run) -> String {
    let ended = [run.reason.as_str(), run.detail.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    if !ended.is_empty() {
        return super::printable::short(&ended.join(": "), 80);
    }
    if run.cancel_requested && !state(run.state()).is_some_and(StateName::is_terminal) {
        return "cancel requested".to_owned();
    }
    blocked_by(run.blocked_by()).unwrap_or_default().to_owned()
}

/// What to do next about a run that ended with `reason`.
pub fn failure_hint(reason: &str, detail: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| detail.to_lowercase().contains(word));
    match reason {
        "MODEL_REJECTED" if says(&["401", "403", "key", "unauthorized"]) => {
            Some("check the key of the model's provider in the mesh's configuration, then send again")
        }
        "MODEL_REJECTED" if says(&["404", "not found", "does not exist"]) => {
            Some("check the model's name in the agent: runmesh agents get NAME")
        }
        "MODEL_REJECTED" => Some("check the agent's model and parameters: runmesh agents get NAME"),
        "MODEL_UNAVAILABLE" => Some("is the model's server up and its URL right? then send again"),
        "LENGTH" => Some("raise parameters.max_output_tokens in the agent and apply it again"),
        "STEP_LIMIT" => Some("raise limits.max_steps in the agent and apply it again"),
        "NO_WORKER" => Some("runmesh workers lists who serves the org"),
        "OUTCOME_UNKNOWN" => Some("runmesh show RUN --steps names the call; check whether it happened before sending again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_typed() {
        for state in StateName::ALL {
            assert_eq!(parse_state(&state.name().to_uppercase()), Ok(state));
        }
        assert!(parse_state("done").is_err_and(|problem| problem.contains("completed")));
    }

    #[test]
    fn a_bad_key_is_told_from_a_dead_server() {
        assert!(failure_hint("MODEL_REJECTED", "HTTP 401: bad key").is_some_and(|hint| hint.contains("key")));
        assert!(failure_hint("MODEL_UNAVAILABLE", "connection refused").is_some_and(|hint| hint.contains("server up")));
        assert_eq!(failure_hint("", ""), None);
    }
}
