//! Fail points: places at which a process of a test kills itself, as a crash at that very place would. They exist only in builds
//! with the feature `fail-points`, which the tests of the package `runmesh` turn on and nothing else does.
//!
//! A process is armed with one point by its environment, and obeys at the given time that it gets there. The name of the point
//! says what had been done by then, and that nothing after it was.

use sqlx::postgres::PgConnection;
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that arms a process: `FinishRun:before-commit:2` kills it at the second time that it gets to that
/// point of that operation. Without the number it is the first time.
pub const VARIABLE: &str = "RUNMESH_FAIL_POINT";

/// A transaction did its work, and none of it is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// A transaction is committed, and nothing that follows from it was done.
pub const AFTER_COMMIT: &str = "after-commit";

/// The point that this process is armed with.
struct Armed {
    operation: String,
    point: String,
    /// How often the process still gets there before it dies, that time included.
    left: AtomicU32,
}

static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let text = std::env::var(VARIABLE).ok()?;
    let armed = parse(&text);
    if armed.is_none() {
        say(&format!("{VARIABLE} is {text}, which is no fail point: want operation:point or operation:point:times"));
    }
    armed
});

fn parse(text: &str) -> Option<Armed> {
    let mut parts = text.split(':');
    let (operation, point) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let left = parts.next().map_or(Some(1), |times| times.parse().ok().filter(|times| *times > 0))?;
    parts.next().is_none().then_some(Armed { operation, point, left: AtomicU32::new(left) })
}

fn armed_at(operation: &str, point: &str) -> Option<&'static Armed> {
    ARMED.as_ref().filter(|armed| armed.operation == operation && armed.point == point)
}

/// Whether this process is armed with any point of the operation.
#[must_use]
pub fn is_armed(operation: &str) -> bool {
    ARMED.as_ref().is_some_and(|armed| armed.operation == operation)
}

/// Kills this process when it is armed with the point and this is the time.
pub fn reach(operation: &str, point: &str) {
    let Some(armed) = armed_at(operation, point) else { return };
    if armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        say(&format!("fail point {operation}:{point} reached, this process kills itself"));
        // Nothing may run after the point: neither destructors nor handlers.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// Waits for ever when this process is to die at the point at the next time. For work that goes on beside what the point follows,
/// and that must not have been done when the process dies.
pub async fn keep_from(operation: &str, point: &str) {
    if armed_at(operation, point).is_some_and(|armed| armed.left.load(Ordering::SeqCst) == 1) {
        std::future::pending::<()>().await;
    }
}

/// Whether the transaction under way has changed or locked a row. One that only looked has no fail points: a look that finds
/// nothing would be killed in place of the work.
pub(crate) async fn changes(connection: &mut PgConnection) -> bool {
    let query = sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned() IS NOT NULL");
    query.fetch_one(connection).await.unwrap_or(false)
}

/// Says it past the log, which may be filtered or buffered.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String, u32)> {
        parse(text).map(|armed| (armed.operation, armed.point, armed.left.into_inner()))
    }

    #[test]
    fn a_point_is_an_operation_a_place_and_a_time() {
        let wanted = |left| Some(("FinishRun".to_owned(), BEFORE_COMMIT.to_owned(), left));
        assert_eq!(read("FinishRun:before-commit"), wanted(1));
        assert_eq!(read("FinishRun:before-commit:3"), wanted(3));
        for text in ["", "FinishRun", "a:b:0", "a:b:x", "a:b:1:2"] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
