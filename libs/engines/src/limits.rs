//! Every bound of this crate with its reason. Never read from configuration.

use std::time::Duration;

/// Answering `--version` reads no data; a cold disk is the only excuse.
pub(crate) const VERSION_LIMIT: Duration = Duration::from_secs(15);
/// `initdb` writes about 40 MB; a busy machine with two cores needs up to ten seconds.
pub(crate) const INITDB_LIMIT: Duration = Duration::from_secs(90);
/// Postgres replays its journal before it answers; that may take long after a crash under load.
pub(crate) const POSTGRES_READY: Duration = Duration::from_secs(90);
/// NATS checks the files of every stream before it listens.
pub(crate) const NATS_READY: Duration = Duration::from_secs(60);
/// A cluster of NATS servers elects leaders before it takes streams: up to ten seconds, several times that on a busy machine.
pub(crate) const NATS_CLUSTER_READY: Duration = Duration::from_secs(60);
/// One look at a starting server; it listens on loopback, so a healthy one answers in milliseconds.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks at a file, a process or a port.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// Pause before a start is tried again after a passing failure (a taken port, memory of a dead server).
pub(crate) const START_AGAIN: Duration = Duration::from_millis(100);
/// A polite stop; then the server is killed. Longer than the keeper's five seconds: here somebody is waiting for clean data.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long an orphan of an earlier start may take to stop before it is killed.
pub(crate) const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// A killed process is gone at once, unless the kernel holds it in a disk write.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(10);
/// The keeper only waits for engines that are already stopped and removes a folder.
pub(crate) const KEEPER_LIMIT: Duration = Duration::from_secs(15);
/// A download of at most 30 MB over a slow line.
pub(crate) const PIP_LIMIT: Duration = Duration::from_secs(300);
/// Package lists, then about 60 MB with dependencies.
pub(crate) const APT_LIMIT: Duration = Duration::from_secs(600);
/// Waiting for another process that installs the same engine: its whole install.
pub(crate) const INSTALL_LOCK_LIMIT: Duration = Duration::from_secs(900);
/// A server's log above this size is set aside when the server starts.
pub(crate) const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of a log or of a command's output an error quotes.
pub(crate) const TAIL_BYTES_MAX: u64 = 2 * 1024;
/// Longest message accepted from a starting server (a Postgres message, the INFO line of NATS).
pub(crate) const GREETING_BYTES_MAX: usize = 64 * 1024;
/// Depth to which an installed package is searched for its binary.
pub(crate) const PACKAGE_DEPTH_MAX: usize = 8;
