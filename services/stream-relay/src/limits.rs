//! Bounds and times of a relay, each with its why. What an operator may change is in [`crate::Config`].

use std::time::Duration;

/// Events that a watched run keeps at hand for its viewers, in bytes: a viewer further behind reads the log.
pub const RING_BYTES: usize = 256 << 10;
/// The same in batches: batches of one delta are small.
pub const RING_BATCHES: usize = 512;
/// How long a run is followed after its last viewer has gone, so that one who comes back finds its fold warm.
pub const LINGER: Duration = Duration::from_secs(30);
/// The longest that a stream may be attached, whatever its caller's credentials say: a bound for the clock's arithmetic.
pub const STREAM_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Runs whose log is looked at in NATS at once: after a new connection or an election all of them want to be.
pub const LOOKS_AT_ONCE: usize = 16;
/// How long a viewer waits for the log before it is told that the log is away.
pub const LOG_WAIT: Duration = Duration::from_secs(2);
/// The pause before a part that was away is tried again.
pub const RETRY: Duration = Duration::from_millis(500);
/// Those who wait for a connection to attach, at most; a call that waits costs some kilobytes.
pub const ATTACH_QUEUE: u32 = 4_096;
/// How long they wait at most: less than a client does for the answer to its attach.
pub const ATTACH_WAIT: Duration = Duration::from_secs(8);
/// When those who were refused are asked to come back.
pub const ATTACH_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// The longest time between two looks at threads that are waited at, should no hint of a next turn come; the shortest is a quarter
/// of it. The default of what an operator may change.
pub const THREAD_LOOK: Duration = Duration::from_secs(60);
/// Threads of one look.
pub const LOOK_THREADS: usize = 1_000;
/// The pause between two looks, so that hints that come close together cost one.
pub const LOOK_GATHER: Duration = Duration::from_millis(10);
/// The time over which relays spread their looks after NATS was away, for all of them missed hints.
pub const LOOK_SPREAD: Duration = Duration::from_secs(2);
/// The pause before a thread is subscribed to again.
pub const SUBSCRIBE_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// Events of one frame made from the log, in bytes: large enough to be cheap, small enough to come at once.
pub const FRAME_BYTES: usize = 128 << 10;
/// One part of a snapshot, in bytes: well under what a stream's message may be.
pub const SNAPSHOT_PART_BYTES: usize = 768 << 10;
/// The content and the arguments of one call in a snapshot, in bytes; an event of the log holds no more either.
pub const SNAPSHOT_CALL_BYTES: usize = 256 << 10;

/// How often it is looked which quiet runs are to be compared with Postgres.
pub const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// How long a run must have been quiet to be compared, and how long its log may stay behind.
pub const PROBE_QUIET: Duration = Duration::from_secs(2);
/// How long the end of a run is waited for in a log that cannot be brought up, before Postgres answers: longer than the four to
/// nine seconds in which a NATS cluster elects who leads a stream.
pub const GIVE_UP: Duration = Duration::from_secs(15);
/// The longest time between two comparisons of a run that stays quiet: so late at most is an end noticed that its log does not have.
pub const PROBE_LONGEST: Duration = Duration::from_secs(15);
/// The same for a run that waits in a queue: so old at most is the place that its viewers see.
pub const PROBE_WAITING: Duration = Duration::from_secs(5);
/// Runs of one comparison.
pub const PROBE_RUNS: usize = 1_000;
/// Logs brought up at once by one comparison.
pub const PROBE_AT_ONCE: usize = 8;
/// How long a run that stays quiet goes before its log is looked at again for words whose message was lost; then twice as long,
/// up to the second time.
pub const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(120));
/// Logs that one comparison has looked at for words: those of the longest time ago.
pub const LOOKS_FOR_WORDS: usize = 64;
/// How long the followers of many runs take to read their logs after NATS was away: each run adds a little, up to the second time.
pub const RECONNECT_SPREAD: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(2));

/// How long a worker may take to open its append.
pub const APPEND_FIRST: Duration = Duration::from_secs(10);
/// How long an append waits for its attempt to begin in the log, or for a log that is away; then the worker is sent away
/// and comes back, here or elsewhere.
pub const APPEND_OPEN: Duration = Duration::from_secs(20);
/// The first and the longest pause between looks at such a log.
pub const APPEND_PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));
/// How long a worker waits for an ack before the last one is repeated, as a sign that the relay is alive while the log is slow. A
/// worker leaves a relay that gives none.
pub const APPEND_SIGN: Duration = Duration::from_millis(500);
/// Answers that wait for a worker which does not read. Acks are cumulative, so later ones take the place of earlier ones.
pub const APPEND_ANSWERS: usize = 8;
