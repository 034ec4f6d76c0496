//! Every bound of the bus, each with its why. Nothing here is an operator's to change; see [`crate::BusConfig`] for that.

use std::time::Duration;

/// How long a request may take. An ack that is later than this is an unknown outcome.
pub const REQUEST: Duration = Duration::from_secs(4);
/// How long a look at the streams may take that somebody waits for and can do without.
pub const LOOK: Duration = Duration::from_secs(1);
/// How long making or changing a stream may take: several servers agree on it, and make its files.
pub const STREAM_CHANGE: Duration = Duration::from_secs(8);
/// How long connecting may take: a server that is up answers in milliseconds.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How often an idle connection is tried: a dead link is noticed after two of these.
pub const PING: Duration = Duration::from_secs(5);
/// The first and the longest wait between tries to connect again.
pub const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The pause before a leader that lacks the end of a log is asked again.
pub const CONFIRM: Duration = Duration::from_secs(1);
/// How long bringing one log up may take in all.
pub const CATCH_UP: Duration = Duration::from_secs(8);
/// How often bringing one log up decides again; each time somebody else has made progress.
pub const CATCH_UP_TRIES: u32 = 16;
/// The pause between those decisions, so that two writers do not run in step.
pub const CATCH_UP_PAUSE: Duration = Duration::from_millis(10);

/// Messages that one subscription holds for a reader that is busy; what comes beyond is dropped, and seen by the chain.
pub const SUBSCRIPTION: usize = 4_096;
/// As above on the connection of replays: more than one page.
pub const REPLAY_SUBSCRIPTION: usize = 8_192;
/// The first page of a replay, in bytes: what a reader that never reads may cost.
pub const PAGE_BYTES_MIN: usize = 64 << 10;
/// The largest page, in bytes, for readers that keep up.
pub const PAGE_BYTES_MAX: usize = 2 << 20;
/// Messages of one page.
pub const PAGE_MESSAGES: u32 = 4_096;
/// Pages that may be on their way at once: readers that come back together wait for their turns, and none of them times out because
/// all share one connection.
pub const PAGES_AT_ONCE: usize = 16;
/// How long a reader waits for its turn.
pub const PAGE_TURN: Duration = Duration::from_secs(30);
/// How often a page is asked for once more, from where it stopped, when the server falls silent.
pub const PAGE_TRIES: u32 = 3;
/// Pages above the first size that may be held at once in the process.
pub const LARGE_PAGES: usize = 32;
/// How long a replay waits for a follower to have what its leader has.
pub const FOLLOWER: Duration = Duration::from_secs(3);
/// How often it looks.
pub const FOLLOWER_PAUSE: Duration = Duration::from_millis(25);

/// Runs whose last transition on the feed is remembered.
pub const FEED_CACHE: usize = 16_384;
/// How often publishing one transition decides again.
pub const FEED_TRIES: u32 = 8;
/// How long after its delivery an unacknowledged transition comes again.
pub const FEED_ACK: Duration = Duration::from_secs(30);
/// Transitions that a consumer holds unacknowledged.
pub const FEED_PENDING: i64 = 4_096;

/// The pause between attempts to make missing streams again.
pub const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// How long one such attempt may take: a publish waits for it.
pub const HEAL: Duration = Duration::from_secs(4);

/// The oldest server that has what this crate uses.
pub const SERVER_VERSION_MIN: (u32, u32) = (2, 11);
/// The words of a question on the log, in bytes: an event must stay an event.
pub const SUMMARY_BYTES_MAX: usize = 64 << 10;
