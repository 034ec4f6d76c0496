//! The fail points that tests kill a process at, and what else runs in transactions. `house_rules` compares it with the code.

use super::drive::Drive;

/// A transaction did its work, and none of it is committed.
pub const BEFORE: &str = "before-commit";
/// A transaction is committed, and nothing that follows from it was done.
pub const AFTER: &str = "after-commit";

/// One death: the place, the time that the process gets there, and what brings it there.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// A command, or `Publish`.
    pub operation: &'static str,
    /// Where in it.
    pub point: &'static str,
    /// Which time, from 1.
    pub time: u32,
    /// What the test does.
    pub drive: Drive,
}

/// Places in the publishing of one run's transitions: before any of it; only on the feed; only in the log; everywhere, and not
/// marked.
pub const PUBLISH: [&str; 4] = ["begin", "fed", "logged", "unmarked"];

/// Commands that are killed on both sides of their COMMIT.
const COMMANDS: &[(&str, u32, Drive)] = &[
    ("OpenSession", 1, Drive::Start),
    ("SettleOrg", 1, Drive::NewOrg),
    ("ReopenSession", 1, Drive::Reopen),
    ("CloseSession", 1, Drive::Goodbye),
    ("AcceptMessage", 1, Drive::Turn),
    ("ClaimRuns", 1, Drive::TwoTurns),
    // The model's step, the dispatch of its call, and the call's result.
    ("RecordEntries", 1, Drive::SafeCall),
    ("RecordEntries", 3, Drive::SafeCall),
    ("RecordEntries", 1, Drive::UnsafeCall),
    ("RecordEntries", 2, Drive::UnsafeCall),
    ("RecordEntries", 3, Drive::UnsafeCall),
    ("FinishRun", 1, Drive::TwoTurns),
    ("CancelRun", 1, Drive::Cancel),
    ("ReleaseRun", 1, Drive::Drain),
    ("CutLease", 1, Drive::BrokenStream),
    ("FindLost", 1, Drive::SilentWorker),
    ("TakeBack", 1, Drive::BrokenStream),
    ("TakeBack", 1, Drive::Pause),
    ("Mark", 1, Drive::Turn),
];

/// Every death of the test of runs.
pub fn cases() -> Vec<Case> {
    let case = |operation, point, time, drive| Case { operation, point, time, drive };
    let commands =
        COMMANDS.iter().flat_map(|(operation, time, drive)| [BEFORE, AFTER].map(|point| case(operation, point, *time, *drive)));
    // The claim's transitions, and those of the end.
    let publishing = [1, 2].into_iter().flat_map(|time| PUBLISH.map(|point| case("Publish", point, time, Drive::Turn)));
    commands.chain(publishing).collect()
}

/// Mutating methods of users, each with its command: killed on both sides of their COMMIT by the test of repeats.
pub const MUTATIONS: &[(&str, &str)] = &[
    ("SendMessage", "AcceptMessage"),
    ("CancelRun", "CancelRun"),
    ("CreateThread", "CreateThread"),
    ("UpdateThread", "UpdateTitle"),
    ("DeleteThread", "DeleteThread"),
    ("CreateAgent", "CreateAgent"),
    ("UpdateAgent", "UpdateAgent"),
    ("DeleteAgent", "DeleteAgent"),
    ("PutMember", "PutMember"),
    ("RemoveMember", "RemoveMember"),
    ("CreateOrg", "CreateOrg"),
    ("UpdateOrg", "UpdateOrg"),
    ("DeleteOrg", "DeleteOrg"),
];

/// Commands that only look: there is nothing to commit, so no process dies there.
pub const LOOKS: &[&str] = &[
    "CountAside",
    "CountDeadRows",
    "FindDue",
    "FindHung",
    "FindOrphans",
    "FindRuns",
    "FindThreads",
    "ReadForLog",
    "FindUnfed",
    "FindUnlogged",
    "FirstAnswer",
    "GetAgent",
    "GetContext",
    "GetHistory",
    "GetOrg",
    "GetRun",
    "GetThread",
    "ListAgents",
    "ListMembers",
    "ListMessages",
    "ListOrgs",
    "ListPending",
    "ListQueue",
    "ListSessions",
    "Nothing",
    "Summarize",
];

/// Commands around others, which have the fail points of those.
pub const AROUND: &[&str] = &["AdminOnly", "Arc", "Closure", "Idempotent", "MemberOnly", "ReadBack"];

/// Commands that no test kills, and why.
pub const APART: &[(&str, &str)] = &[
    ("KeepLate", "nothing follows its commit and nobody repeats it: a lost one is evidence that a person does not get"),
    ("ReturnRun", "the transaction of ReleaseRun, for an assignment that reached nobody"),
    ("ForgetLock", "one row, for a process that is known to live; one that dies is found by its lease"),
    ("MoveAside", "one row, of a run that cannot be read; the sweep that met it is its repeat"),
    ("PromoteFreeThreads", "a sweep of what should never be; the next tick is its repeat"),
    ("ExpireActions", "a sweep that needs days to be due; the next tick is its repeat"),
    ("FailUnserved", "a sweep that needs a day to be due; the next tick is its repeat"),
];

/// Files with transactions of closures, which have no name and so no fail points, and why.
pub const CLOSURES: &[(&str, &str)] = &[
    ("libs/store/src/db.rs", "looks at the schema"),
    ("libs/store/src/purge.rs", "forgets what nobody needs; the next round is its repeat"),
    ("libs/store/src/sessions/alive.rs", "one row; a session that says nothing of its lock is found by its lease"),
    ("libs/store/src/sessions/heartbeat.rs", "one row; the next heartbeat is its repeat"),
    ("services/stream-relay/src/truth.rs", "looks for viewers"),
];
