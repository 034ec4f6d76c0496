//! The checks, from the outside in: what is not reached is not asked further.

mod streams;

use super::probe;
use crate::cli::context::Context;
use crate::cli::{printable, when};
use runmesh_client::pb::worker::worker::State;
use runmesh_client::{ClientError, Paging, RunFilter, pb};
use runmesh_domain::Timestamp;
use runmesh_wire::descriptors;
use serde_json::{Value, json};
use std::time::Duration;

/// A difference of clocks that a person should know of: log lines of two machines no longer fit together.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// Runs set aside that the report names.
const SET_ASIDE_NAMED: u32 = 5;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// What was seen, when it is well.
    pub said: String,
    /// What is wrong, when something is.
    pub problem: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    fn well(name: impl Into<String>, said: impl Into<String>) -> Self {
        Self { name: name.into(), said: said.into(), problem: None, hint: None }
    }

    fn wrong(name: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        let problem = printable::line(&problem.into());
        Self { name: name.into(), said: String::new(), problem: Some(problem), hint: Some(hint.into()) }
    }

    fn of_error(name: &str, error: &ClientError) -> Self {
        // Doctor is what the hints of most errors point at; it must not point at itself.
        let hint = error.hint().filter(|hint| !hint.starts_with("runmesh doctor"));
        Self::wrong(name, error.to_string(), hint.unwrap_or_else(|| "look at the logs of the service".to_owned()))
    }

    /// As a program reads it.
    pub fn as_json(&self) -> Value {
        json!({"name": self.name, "ok": self.problem.is_none(), "said": self.said, "problem": self.problem, "hint": self.hint})
    }
}

/// Every check.
pub async fn all(context: &Context) -> Vec<Check> {
    let mut checks = vec![Check::well("command line", format!("version {}", env!("CARGO_PKG_VERSION")))];
    let gateway = gateway(context).await;
    let reached = gateway.problem.is_none();
    checks.push(gateway);
    if !reached {
        return checks;
    }
    for service in descriptors::services() {
        checks.push(service_health(context, &service).await);
    }
    checks.push(reflection(context).await);
    checks.extend(mesh(context).await);
    checks.push(clock(context).await);
    checks.push(workers(context).await);
    checks.push(set_aside(context).await);
    checks
}

async fn gateway(context: &Context) -> Check {
    let name = format!("gateway {}", context.client.address());
    match probe::health(context, "").await {
        Ok(true) => Check::well(name, "serving"),
        Ok(false) => Check::wrong(name, "reached, and not serving", "it may be starting or draining; look at its logs"),
        Err(problem) => Check::wrong(name, problem, "is the address right (--address)? else start a mesh: runmesh dev"),
    }
}

async fn service_health(context: &Context, service: &str) -> Check {
    match probe::health(context, service).await {
        Ok(true) => Check::well(service, "serving"),
        Ok(false) => Check::wrong(service, "no replica serves", format!("start {}", process_of(service))),
        Err(problem) => {
            Check::wrong(service, problem, format!("is {} running, and does the gateway know it?", process_of(service)))
        }
    }
}

/// The process that serves a service.
fn process_of(service: &str) -> &'static str {
    match service {
        "runmesh.approval.v1.ApprovalService" => "runmesh approval",
        "runmesh.stream.v1.StreamService" => "runmesh stream-relay",
        "runmesh.summary.v1.SummaryService" => "runmesh summary",
        _ => "runmesh run-orchestrator",
    }
}

async fn reflection(context: &Context) -> Check {
    match probe::reflected(context).await {
        Ok(services) => Check::well("reflection", format!("{} services", services.len())),
        Err(problem) => Check::wrong("reflection", problem, "it may be off on purpose; grpcurl then needs the proto files"),
    }
}

/// Versions and migrations.
async fn mesh(context: &Context) -> Vec<Check> {
    let info = match context.client.get_org_and_streams().await {
        Ok(answer) => answer.mesh.unwrap_or_default(),
        Err(error) => return vec![Check::of_error("versions", &error)],
    };
    let pb::org::MeshInfo { ref version, ref postgres_version, ref nats_version, .. } = info;
    let said = format!("runmesh {version}, postgres {postgres_version}, nats-server {nats_version}");
    let versions = if *version == env!("CARGO_PKG_VERSION") {
        Check::well("versions", said)
    } else {
        Check::wrong("versions", said, format!("this command line is {}; use the mesh's version", env!("CARGO_PKG_VERSION")))
    };
    let mut checks = vec![versions, migrations(&info)];
    checks.extend(streams::checks(&info));
    checks
}

/// The schema of the database beside what the orchestrator that answers knows.
fn migrations(info: &pb::org::MeshInfo) -> Check {
    let pb::org::MeshInfo { migration_version, known_migration_version, min_compatible_migration, missing_migrations, .. } = info;
    let said = format!(
        "database at {migration_version}, run-orchestrator knows {known_migration_version}, \
         versions that know {min_compatible_migration} may run"
    );
    if !missing_migrations.is_empty() {
        let missing = missing_migrations.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        return Check::wrong("migrations", format!("{said}; missing: {missing}"), "apply them: runmesh migrate");
    }
    if min_compatible_migration > known_migration_version {
        return Check::wrong("migrations", said, "this run-orchestrator is too old for its database: start a newer version");
    }
    if migration_version > known_migration_version {
        return Check::well("migrations", format!("{said}; an older version serves, which is well during a roll-out"));
    }
    Check::well("migrations", said)
}

async fn clock(context: &Context) -> Check {
    let before = when::now();
    let summary = match context.client.get_summary(1).await {
        Ok(summary) => summary,
        Err(error) => return Check::of_error("database clock", &error),
    };
    match when::of_wire(summary.time) {
        None => Check::wrong("database clock", "the summary tells no time", "the mesh and this command line differ in version"),
        Some(time) => skew(before, time, when::now()),
    }
}

/// How far the database's clock is from this machine's, which read `before` and `after` around it.
fn skew(before: Timestamp, time: Timestamp, after: Timestamp) -> Check {
    let off = before.since(time).max(time.since(after));
    let text = if off.is_zero() {
        "agrees with this machine's".to_owned()
    } else {
        format!("{} ms off this machine's", off.as_millis())
    };
    if off > SKEW_MAX {
        return Check::wrong(
            "database clock",
            text,
            "set both clocks by NTP; leases go by the database's, so that runs are safe",
        );
    }
    Check::well("database clock", text)
}

async fn workers(context: &Context) -> Check {
    match context.client.list_workers(1_000).await {
        Err(error) => Check::of_error("workers", &error),
        Ok(workers) => {
            let live = workers.iter().filter(|worker| worker.state() == State::Live);
            let (count, room) = live.fold((0, 0), |(count, room), worker| (count + 1, room + worker.capacity));
            if count == 0 {
                let hint = "start one: runmesh run-orchestrator --role worker; until then runs wait";
                return Check::wrong("workers", "none is live", hint);
            }
            Check::well("workers", format!("{count} live, room for {room} runs"))
        }
    }
}

/// Runs of the org that nobody goes on with, because a part of them cannot be read.
async fn set_aside(context: &Context) -> Check {
    let filter = RunFilter { set_aside: true, ..RunFilter::default() };
    match context.client.list_runs(&filter, Paging::first(SET_ASIDE_NAMED)).await {
        Err(error) => Check::of_error("runs set aside", &error),
        Ok(page) if page.items.is_empty() => Check::well("runs set aside", "none"),
        Ok(page) => {
            let named = page.items.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>().join(", ");
            let and_more = if page.next.is_none() { "" } else { " and more" };
            let hint = "the run-orchestrator's log says what cannot be read; end one with runmesh cancel RUN";
            Check::wrong("runs set aside", format!("{named}{and_more}"), hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_within_the_call_agrees() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(skew(at(10), at(11), at(12)).said, "agrees with this machine's");
        assert_eq!(skew(at(10), at(9), at(12)).said, "1000 ms off this machine's");
        assert!(skew(at(10), at(30), at(12)).problem.is_some_and(|problem| problem.starts_with("18000 ms")));
    }

    #[test]
    fn migrations_are_wrong_when_some_are_missing_or_the_server_is_too_old() {
        let info = |database, known, min_compatible, missing: &[i64]| pb::org::MeshInfo {
            migration_version: database,
            known_migration_version: known,
            min_compatible_migration: min_compatible,
            missing_migrations: missing.to_vec(),
            ..pb::org::MeshInfo::default()
        };
        assert_eq!(migrations(&info(13, 13, 13, &[])).problem, None);
        let older = migrations(&info(20, 13, 13, &[]));
        assert!(older.problem.is_none() && older.said.contains("an older version serves"), "{older:?}");
        let missing = migrations(&info(12, 14, 13, &[13, 14]));
        assert!(missing.problem.is_some_and(|problem| problem.ends_with("missing: 13, 14")));
        assert!(missing.hint.is_some_and(|hint| hint.contains("runmesh migrate")));
        assert!(migrations(&info(20, 13, 14, &[])).problem.is_some());
    }

    #[test]
    fn every_service_is_served_by_somebody() {
        let served = descriptors::services().into_iter().map(|service| process_of(&service)).collect::<Vec<_>>();
        for process in ["runmesh approval", "runmesh stream-relay", "runmesh summary", "runmesh run-orchestrator"] {
            assert!(served.contains(&process), "{process}");
        }
    }
}
