//! What a command would change.

use super::Run;
use super::cancel::{Cancel, CancelMode};
use super::command::{Ask, Change, Command, Outcome};
use super::state::{Ended, State};
use crate::actor::Actor;
use crate::error::{Fault, Refusal};
use crate::id::{ActionId, SessionId};
use crate::limits::{BARREN_ATTEMPTS_MAX, CUT_ATTEMPTS_MAX};
use crate::transition::Cause;

impl Run {
    /// What `command` would change. An empty list means "already so": answer success without writing.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] for a holder's command under a fence that is not the run's, or while the run is not RUNNING;
    /// [`Refusal::RunFinished`] for one under the last fence after the end. The fence is checked before the state: a
    /// zombie always hears FENCED.
    pub fn decide(&self, command: &Command) -> Result<Vec<Change>, Refusal> {
        match command {
            Command::Promote => Ok(self.promote()),
            Command::Claim { session } => self.claim(*session),
            Command::Finish { fence, outcome } => self.check_holder(*fence).map(|()| self.finish(outcome)),
            Command::Release { fence, ask } => self.check_holder(*fence).map(|()| self.give_back(ask.as_ref(), false, false)),
            Command::LoseLease { fence, ask, counts } => Ok(self.lose_lease(*fence, ask.as_ref(), *counts)),
            Command::Cancel { mode, by } => Ok(self.cancel(*mode, *by)),
            Command::Supersede { by } => Ok(self.supersede(*by)),
            Command::Expire { action } => Ok(self.expire(*action)),
            Command::GiveUpWaiting => Ok(self.give_up_waiting()),
        }
    }

    /// The fence first, then the state.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] or [`Refusal::RunFinished`].
    pub fn check_holder(&self, fence: u64) -> Result<(), Refusal> {
        if fence != self.fence {
            return Err(Refusal::Fenced);
        }
        match self.state {
            State::Running { .. } => Ok(()),
            State::Ended(_) => Err(Refusal::RunFinished),
            State::Queued | State::Ready | State::Waiting { .. } => Err(Refusal::Fenced),
        }
    }

    fn promote(&self) -> Vec<Change> {
        match self.state {
            State::Queued => vec![Change::Promoted],
            State::Ready | State::Running { .. } | State::Waiting { .. } | State::Ended(_) => vec![],
        }
    }

    fn claim(&self, session: SessionId) -> Result<Vec<Change>, Refusal> {
        match self.state {
            State::Ready => Ok(vec![Change::Claimed { session }]),
            State::Ended(_) => Err(Refusal::RunFinished),
            State::Queued | State::Running { .. } | State::Waiting { .. } => Err(Refusal::Fenced),
        }
    }

    fn lose_lease(&self, fence: u64, ask: Option<&Ask>, counts: bool) -> Vec<Change> {
        match self.state {
            State::Running { .. } if fence == self.fence => self.give_back(ask, true, counts),
            State::Running { .. } | State::Queued | State::Ready | State::Waiting { .. } | State::Ended(_) => vec![],
        }
    }

    /// Out of RUNNING without an outcome. A cancel that was acknowledged wins over everything.
    fn give_back(&self, ask: Option<&Ask>, taken: bool, counts: bool) -> Vec<Change> {
        let by = if taken { Actor::System } else { self.holder() };
        let end = |ended, cause| vec![Change::Ended { ended, cause, by, taken }];
        if let Some(Cancel { by, .. }) = self.cancel {
            return vec![Change::Ended { ended: Ended::Canceled, cause: Cause::Canceled, by, taken }];
        }
        match ask {
            Some(Ask::Person { action }) => vec![Change::Paused { action: *action, taken }],
            Some(Ask::Fail { detail }) => {
                let ended = Ended::Failed { reason: "OUTCOME_UNKNOWN".into(), detail: detail.clone() };
                end(ended, Cause::OutcomeUnknown)
            }
            None if counts && self.barren_attempts + 1 >= BARREN_ATTEMPTS_MAX => {
                let detail = format!("{BARREN_ATTEMPTS_MAX} attempts in a row were lost without a journaled step");
                end(Ended::Failed { reason: "ATTEMPTS_EXHAUSTED".into(), detail }, Cause::AttemptsExhausted)
            }
            None if !counts && self.cut_attempts + 1 >= CUT_ATTEMPTS_MAX => {
                let detail = format!("{CUT_ATTEMPTS_MAX} attempts in a row were cut off or given back without a journaled step");
                end(Ended::Failed { reason: "ATTEMPTS_EXHAUSTED".into(), detail }, Cause::AttemptsExhausted)
            }
            None => vec![Change::GivenBack { taken, counts }],
        }
    }

    fn cancel(&self, mode: CancelMode, by: Actor) -> Vec<Change> {
        match self.state {
            State::Queued | State::Ready | State::Waiting { .. } => {
                vec![Change::Ended { ended: Ended::Canceled, cause: Cause::Canceled, by, taken: false }]
            }
            State::Running { .. } => match self.cancel {
                None => vec![Change::CancelRequested { cancel: Cancel { mode, by } }],
                Some(known) if known.mode < mode => vec![Change::CancelRequested { cancel: Cancel { mode, ..known } }],
                Some(_) => vec![],
            },
            State::Ended(_) => vec![],
        }
    }

    fn supersede(&self, by: Actor) -> Vec<Change> {
        let end = |taken| vec![Change::Ended { ended: Ended::Superseded, cause: Cause::Superseded, by, taken }];
        match self.state {
            State::Queued | State::Ready | State::Waiting { .. } => end(false),
            State::Running { .. } => end(true),
            State::Ended(_) => vec![],
        }
    }

    /// The session that holds the run, as an actor.
    fn holder(&self) -> Actor {
        self.state.session().map_or(Actor::System, Actor::Worker)
    }

    fn finish(&self, outcome: &Outcome) -> Vec<Change> {
        let failed = |reason: &str, detail: &str| Ended::Failed { reason: reason.to_owned(), detail: detail.to_owned() };
        let (ended, cause, by) = match outcome {
            Outcome::Completed => (Ended::Completed, Cause::Finished, self.holder()),
            Outcome::Failed { reason, detail } => (failed(reason, detail), Cause::Finished, self.holder()),
            Outcome::Canceled => {
                (Ended::Canceled, Cause::Canceled, self.cancel.map_or_else(|| self.holder(), |cancel| cancel.by))
            }
        };
        vec![Change::Ended { ended, cause, by, taken: false }]
    }

    fn expire(&self, expired: ActionId) -> Vec<Change> {
        match self.state {
            State::Waiting { action } if action == expired => {
                vec![Change::Ended { ended: Ended::Aborted, cause: Cause::Expired, by: Actor::System, taken: false }]
            }
            State::Waiting { .. } | State::Queued | State::Ready | State::Running { .. } | State::Ended(_) => vec![],
        }
    }

    fn give_up_waiting(&self) -> Vec<Change> {
        match self.state {
            State::Ready => {
                let detail = "no worker that can serve this agent and its tools came in time".to_owned();
                let ended = Ended::Failed { reason: "NO_WORKER".into(), detail };
                vec![Change::Ended { ended, cause: Cause::NoWorker, by: Actor::System, taken: false }]
            }
            State::Queued | State::Running { .. } | State::Waiting { .. } | State::Ended(_) => vec![],
        }
    }
}

/// A terminal state put together from its stored pieces.
///
/// # Errors
/// [`Fault::Internal`] when `name` is not terminal.
pub fn ended_from_parts(name: super::StateName, reason: &str, detail: &str) -> Result<Ended, Fault> {
    use super::StateName as N;
    match name {
        N::Completed => Ok(Ended::Completed),
        N::Failed => Ok(Ended::Failed { reason: reason.to_owned(), detail: detail.to_owned() }),
        N::Canceled => Ok(Ended::Canceled),
        N::Aborted => Ok(Ended::Aborted),
        N::Superseded => Ok(Ended::Superseded),
        N::Queued | N::Ready | N::Running | N::Waiting => Err(Fault::internal(format!("{name} is not an end"))),
    }
}
