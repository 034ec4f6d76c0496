//! The whole state × command table in words, for `docs/run-states.md` and the test that compares the two.

use super::{Ask, Cancel, CancelMode, Change, Command, Ended, Outcome, Run, RunIds, State};
use crate::actor::Actor;
use crate::id::{ActionId, AgentId, OrgId, RunId, SessionId, ThreadId, UserId};
use uuid::Uuid;

const FENCE: u64 = 3;

/// The table as Markdown: a row for each state, a column for each command.
#[must_use]
pub fn table() -> String {
    let commands = commands();
    let heads: Vec<_> = commands.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut lines = vec![line("state", &heads), line("---", &vec!["---".to_owned(); heads.len()])];
    for (name, run) in runs() {
        let cells: Vec<_> = commands.iter().map(|(_, command)| describe(&run, command)).collect();
        lines.push(line(name, &cells));
    }
    lines.join("\n") + "\n"
}

fn line(first: &str, rest: &[String]) -> String {
    format!("| {first} | {} |", rest.join(" | "))
}

/// What `command` does to `run`, in a few words.
#[must_use]
pub fn describe(run: &Run, command: &Command) -> String {
    let changes = match run.decide(command) {
        Err(refusal) => return refusal.reason().name().to_owned(),
        Ok(changes) if changes.is_empty() => return "already so".to_owned(),
        Ok(changes) => changes,
    };
    let mut after = run.clone();
    changes.iter().for_each(|change| after.apply(change));
    if let [Change::CancelRequested { cancel }] = changes.as_slice() {
        return match cancel.mode {
            CancelMode::Now => "cancel flag".to_owned(),
            CancelMode::AfterStep => "cancel flag, after the step".to_owned(),
        };
    }
    let reason = match after.state.reason_and_detail() {
        ("", _) => String::new(),
        (reason, _) => format!(" {reason}"),
    };
    let fence = if after.fence == run.fence { "" } else { ", fence +1" };
    format!("{}{reason}{fence}", after.state.name().name().to_uppercase())
}

fn commands() -> Vec<(&'static str, Command)> {
    let ask = || Some(Ask::Person { action: action() });
    let fail = || Some(Ask::Fail { detail: "t".into() });
    vec![
        ("promote", Command::Promote),
        ("claim", Command::Claim { session: SessionId::from_uuid(Uuid::from_u128(9)) }),
        ("finish completed", Command::Finish { fence: FENCE, outcome: Outcome::Completed }),
        ("finish failed", Command::Finish { fence: FENCE, outcome: Outcome::Failed { reason: "R".into(), detail: "d".into() } }),
        ("finish canceled", Command::Finish { fence: FENCE, outcome: Outcome::Canceled }),
        ("finish, old fence", Command::Finish { fence: FENCE - 1, outcome: Outcome::Completed }),
        ("release", Command::Release { fence: FENCE, ask: None }),
        ("release, unsafe call", Command::Release { fence: FENCE, ask: ask() }),
        ("lease lost", Command::LoseLease { fence: FENCE, ask: None, counts: true }),
        ("lease cut", Command::LoseLease { fence: FENCE, ask: None, counts: false }),
        ("lease lost, unsafe call: ask", Command::LoseLease { fence: FENCE, ask: ask(), counts: true }),
        ("lease lost, unsafe call: fail", Command::LoseLease { fence: FENCE, ask: fail(), counts: true }),
        ("cancel", Command::Cancel { mode: CancelMode::Now, by: person() }),
        ("cancel after the step", Command::Cancel { mode: CancelMode::AfterStep, by: person() }),
        ("supersede", Command::Supersede { by: person() }),
        ("action expires", Command::Expire { action: action() }),
        ("no worker", Command::GiveUpWaiting),
    ]
}

fn runs() -> Vec<(&'static str, Run)> {
    let running = State::Running { session: SessionId::from_uuid(Uuid::from_u128(8)) };
    let canceled_flag = |mode| Run { cancel: Some(Cancel { mode, by: person() }), ..run(running.clone()) };
    let barren = Run { barren_attempts: 4, ..run(running.clone()) };
    let cut = Run { cut_attempts: 9, ..run(running.clone()) };
    let failed = Ended::Failed { reason: "R".into(), detail: "d".into() };
    vec![
        ("QUEUED", run(State::Queued)),
        ("READY", run(State::Ready)),
        ("RUNNING", run(running.clone())),
        ("RUNNING, cancel flag", canceled_flag(CancelMode::Now)),
        ("RUNNING, cancel flag, after the step", canceled_flag(CancelMode::AfterStep)),
        ("RUNNING, fifth barren attempt", barren),
        ("RUNNING, tenth cut attempt", cut),
        ("WAITING", run(State::Waiting { action: action() })),
        ("COMPLETED", run(State::Ended(Ended::Completed))),
        ("FAILED", run(State::Ended(failed))),
        ("CANCELED", run(State::Ended(Ended::Canceled))),
        ("ABORTED", run(State::Ended(Ended::Aborted))),
        ("SUPERSEDED", run(State::Ended(Ended::Superseded))),
    ]
}

const fn person() -> Actor {
    Actor::User(UserId::from_uuid(Uuid::from_u128(4)))
}

const fn action() -> ActionId {
    ActionId::from_uuid(Uuid::from_u128(7))
}

fn run(state: State) -> Run {
    let ids = RunIds {
        id: RunId::from_uuid(Uuid::from_u128(1)),
        org: OrgId::from_uuid(Uuid::from_u128(2)),
        thread: ThreadId::from_uuid(Uuid::from_u128(3)),
        user: UserId::from_uuid(Uuid::from_u128(4)),
        agent: AgentId::from_uuid(Uuid::from_u128(5)),
        agent_version: 1,
    };
    Run { state, fence: FENCE, version: 5, ..Run::accepted(ids, 1, 1, Some(1)) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// The docs page is the expectation; run with `UPDATE_DOCS=1` to rewrite its table after a deliberate change.
    #[test]
    fn docs_page_holds_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/run-states.md");
        let page = std::fs::read_to_string(path).unwrap();
        let start = page.find("| state |").unwrap();
        let end = start + page[start..].find("\n\n").map_or(page.len() - start, |n| n + 1);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{}{}{}", &page[..start], table(), &page[end..])).unwrap();
            return;
        }
        assert_eq!(&page[start..end], table());
    }

    #[test]
    fn fence_never_decreases_and_ends_are_final() {
        for (name, before) in runs() {
            for (asked, command) in commands() {
                let Ok(changes) = before.decide(&command) else { continue };
                let mut after = before.clone();
                changes.iter().for_each(|change| after.apply(change));
                assert!(after.fence >= before.fence, "R1: {name} × {asked}");
                if before.state.name().is_terminal() {
                    assert_eq!(after, before, "R2: {name} × {asked}");
                }
                let taken =
                    before.state.name() == crate::run::StateName::Running && after.state.session() != before.state.session();
                if taken && matches!(command, Command::LoseLease { .. } | Command::Supersede { .. }) {
                    assert_eq!(after.fence, before.fence + 1, "R1: {name} × {asked}");
                }
            }
        }
    }
}
