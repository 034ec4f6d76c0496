//! Runs' states and transitions.

use super::{FromWire, IntoWire, signed, unsigned};
use crate::pb::run as pb;
use runmesh_domain::Refusal;
use runmesh_domain::actor::Actor;
use runmesh_domain::journal::Usage;
use runmesh_domain::run::{RunKind, StateName};
use runmesh_domain::transition::Transition;

impl IntoWire<pb::run::State> for StateName {
    fn into_wire(self) -> pb::run::State {
        match self {
            Self::Queued => pb::run::State::Queued,
            Self::Ready => pb::run::State::Ready,
            Self::Running => pb::run::State::Running,
            Self::Waiting => pb::run::State::Waiting,
            Self::Completed => pb::run::State::Completed,
            Self::Failed => pb::run::State::Failed,
            Self::Canceled => pb::run::State::Canceled,
            Self::Aborted => pb::run::State::Aborted,
            Self::Superseded => pb::run::State::Superseded,
        }
    }
}

impl FromWire<StateName> for pb::run::State {
    fn from_wire(self, path: &str) -> Result<StateName, Refusal> {
        Ok(match self {
            Self::Unspecified => return Err(Refusal::field(path, "is required")),
            Self::Queued => StateName::Queued,
            Self::Ready => StateName::Ready,
            Self::Running => StateName::Running,
            Self::Waiting => StateName::Waiting,
            Self::Completed => StateName::Completed,
            Self::Failed => StateName::Failed,
            Self::Canceled => StateName::Canceled,
            Self::Aborted => StateName::Aborted,
            Self::Superseded => StateName::Superseded,
        })
    }
}

impl IntoWire<pb::run::Kind> for RunKind {
    fn into_wire(self) -> pb::run::Kind {
        match self {
            Self::Turn => pb::run::Kind::Turn,
            Self::Background => pb::run::Kind::Background,
        }
    }
}

impl IntoWire<pb::Usage> for Usage {
    fn into_wire(self) -> pb::Usage {
        let Self { input_tokens, output_tokens } = self;
        pb::Usage { input_token_count: signed(input_tokens), output_token_count: signed(output_tokens) }
    }
}

impl FromWire<Usage> for pb::Usage {
    fn from_wire(self, path: &str) -> Result<Usage, Refusal> {
        let Self { input_token_count, output_token_count } = self;
        Ok(Usage { input_tokens: unsigned(path, input_token_count)?, output_tokens: unsigned(path, output_token_count)? })
    }
}

impl IntoWire<pb::Transition> for &Transition {
    fn into_wire(self) -> pb::Transition {
        let Transition { run: _, version, from, to, cause, fence, session, actor, at, record: _ } = self;
        let from = from.map_or(pb::run::State::Unspecified, IntoWire::into_wire);
        pb::Transition {
            version: signed(*version),
            from: from.into(),
            to: (*to).into_wire().into(),
            cause: cause.name().to_owned(),
            fence: signed(*fence),
            session_id: session.map(|session| session.to_string()).unwrap_or_default(),
            time: Some((*at).into_wire()),
            actor_id: match actor {
                Actor::System => String::new(),
                Actor::User(user) => user.to_string(),
                Actor::Worker(session) => session.to_string(),
            },
        }
    }
}
