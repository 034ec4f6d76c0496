//! Rows of the store as the API shows them.

use runmesh_bus::StreamReport;
use runmesh_domain::actor::Actor;
use runmesh_domain::run::StateName;
use runmesh_store::orgs::{Member, MemberRole, Org};
use runmesh_store::runs::{BlockedBy, RunRow};
use runmesh_store::sessions::WorkerRow;
use runmesh_store::steps::History;
use runmesh_store::threads::Thread;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::{signed, signed32};
use runmesh_wire::pb::{org, run, thread, worker};

/// A stream in NATS.
pub fn stream(report: StreamReport) -> org::Stream {
    let StreamReport { name, replicas, replicas_current, leader, messages, bytes, bytes_max, age, differences } = report;
    org::Stream {
        name: name.to_owned(),
        replicas: signed32(replicas),
        replicas_current: signed32(replicas_current),
        leader,
        messages: signed(messages),
        bytes: signed(bytes),
        bytes_max: bytes_max.map(signed),
        age: age.map(|age| age.into_wire()),
        differences,
    }
}

/// A run.
pub fn run(row: RunRow) -> run::Run {
    let RunRow { run, created_at, started_at, ended_at, usage, blocked_by, set_aside, .. } = row;
    let (reason, detail) = run.state.reason_and_detail();
    let state = run.state.name();
    run::Run {
        run_id: run.id.to_string(),
        thread_id: run.thread.to_string(),
        turn_number: signed(run.turn_number),
        user_id: run.user.to_string(),
        agent_id: run.agent.to_string(),
        agent_version: signed(run.agent_version),
        state: state.into_wire().into(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        version: signed(run.version),
        fence: signed(run.fence),
        session_id: run.state.session().map(|session| session.to_string()).unwrap_or_default(),
        cancel_requested: run.is_cancel_requested(),
        blocked_by: blocked(blocked_by, &set_aside, state).into(),
        create_time: Some(created_at.into_wire()),
        start_time: started_at.map(|at| at.into_wire()),
        end_time: ended_at.map(|at| at.into_wire()),
        usage: Some(usage.into_wire()),
        kind: run.kind.into_wire().into(),
        place: signed(run.place.unwrap_or_default()),
        cancel_user_id: match run.cancel.map(|cancel| cancel.by) {
            Some(Actor::User(user)) => user.to_string(),
            Some(Actor::System | Actor::Worker(_)) | None => String::new(),
        },
    }
}

fn blocked(by: Option<BlockedBy>, set_aside: &str, state: StateName) -> run::run::BlockedBy {
    if !set_aside.is_empty() && !state.is_terminal() {
        return run::run::BlockedBy::SetAside;
    }
    match by {
        Some(by) if state == StateName::Ready => match by {
            BlockedBy::UserLimit => run::run::BlockedBy::UserLimit,
            BlockedBy::OrgLimit => run::run::BlockedBy::OrgLimit,
            BlockedBy::NoCapableWorker => run::run::BlockedBy::NoCapableWorker,
            BlockedBy::SetAside => run::run::BlockedBy::SetAside,
        },
        Some(_) | None => run::run::BlockedBy::Unspecified,
    }
}

/// A page of what became of a run.
pub fn history(history: History) -> run::GetRunHistoryResponse {
    let History { run: row, transitions, steps, next_page_token } = history;
    run::GetRunHistoryResponse {
        run: Some(run(row)),
        transitions: transitions.iter().map(|transition| transition.into_wire()).collect(),
        steps: steps.into_iter().map(step).collect(),
        next_page_token,
    }
}

/// A journaled step.
fn step(step: runmesh_domain::journal::Step) -> run::Step {
    let runmesh_domain::journal::Step { path, step_index, fence, result, calls, created_at } = step;
    run::Step {
        step_index: signed32(step_index),
        fence: signed(fence),
        text: runmesh_domain::message::plain_text(&result.parts),
        model: result.model,
        calls: calls.into_iter().map(call).collect(),
        usage: Some(result.usage.into_wire()),
        create_time: Some(created_at.into_wire()),
        path: path.to_string(),
    }
}

fn call(call: runmesh_domain::journal::Call) -> run::step::Call {
    run::step::Call {
        call_index: signed32(call.call_index),
        name: call.name,
        arguments_json: call.arguments,
        state: call.state.into_wire().into(),
        content: call.content,
    }
}

/// A thread.
pub fn thread(row: Thread) -> thread::Thread {
    let Thread { id, org: _, agent, user, title, created_at, updated_at } = row;
    thread::Thread {
        thread_id: id.to_string(),
        agent_id: agent.to_string(),
        user_id: user.to_string(),
        title,
        create_time: Some(created_at.into_wire()),
        update_time: Some(updated_at.into_wire()),
    }
}

/// An org.
pub fn org(row: Org) -> org::Org {
    let Org { id, name, display_name, limits, created_at } = row;
    org::Org {
        org_id: id.to_string(),
        name,
        create_time: Some(created_at.into_wire()),
        display_name,
        limits: Some(limits.into_wire()),
    }
}

/// A member.
pub fn member(row: Member) -> org::Member {
    let Member { user, role, created_at } = row;
    let role = match role {
        MemberRole::Member => org::member::Role::Member,
        MemberRole::Admin => org::member::Role::Admin,
    };
    org::Member { user_id: user.to_string(), role: role.into(), create_time: Some(created_at.into_wire()) }
}

/// A worker session.
pub fn worker(row: WorkerRow) -> worker::Worker {
    let WorkerRow { session, worker, live, capacity, run_count, opened_at, heartbeat_at } = row;
    let state = if live { worker::worker::State::Live } else { worker::worker::State::Lost };
    worker::Worker {
        session_id: session.to_string(),
        worker,
        state: state.into(),
        capacity: signed32(capacity),
        run_count: i32::try_from(run_count).unwrap_or(i32::MAX),
        open_time: Some(opened_at.into_wire()),
        heartbeat_time: Some(heartbeat_at.into_wire()),
    }
}
