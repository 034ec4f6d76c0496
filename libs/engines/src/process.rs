//! One life of a server as a child process: started in its own process group, told to stop, killed, reaped.
//! Knows nothing of what the server does. Polls instead of using the runtime's own child handling, so that a server may
//! be stopped from another runtime than the one that started it (each test has its own).

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};

use crate::{
    error::EngineError,
    home::Home,
    limits::{KILL_LIMIT, ORPHAN_GRACE, POLL},
    log_file::LogFile,
};

/// How an engine is asked to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StopSignal {
    /// The fast shutdown of Postgres: ends sessions, writes a checkpoint.
    Interrupt,
    /// The normal stop of NATS.
    Terminate,
}

impl StopSignal {
    /// As `kill -s` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            StopSignal::Interrupt => "INT",
            StopSignal::Terminate => "TERM",
        }
    }

    fn signal(self) -> Signal {
        match self {
            StopSignal::Interrupt => Signal::INT,
            StopSignal::Terminate => Signal::TERM,
        }
    }
}

/// A living (or not yet reaped) server. Dropped without a stop, it is left to the keeper of its home.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    stop_signal: StopSignal,
    home: Arc<Home>,
}

impl ServerProcess {
    /// Starts `command` with its output in `log`, and returns it with the byte at which its part of the log begins.
    pub(crate) fn spawn(
        mut command: Command,
        log: &LogFile,
        stop_signal: StopSignal,
        home: Arc<Home>,
    ) -> Result<(Self, u64), EngineError> {
        let (out, from) = log.begin()?;
        let err = out.try_clone().map_err(EngineError::io("open log", log.path()))?;
        // Nothing is inherited: a pipe of the starter held by an engine would hang whoever reads it.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let program = command.get_program().to_owned();
        let child = command.spawn().map_err(EngineError::io("start", program))?;
        let mut process = Self { child, stop_signal, home };
        match process.home.keeper().watch(process.pid(), stop_signal) {
            Ok(()) => Ok((process, from)),
            Err(error) => {
                // Without its keeper an engine must not live.
                let _ = process.child.kill();
                let _ = process.child.wait();
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `Some` once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that somebody else reaped the child: it has ended, nobody knows how.
        self.child.try_wait().unwrap_or(Some(ExitStatus::default()))
    }

    /// Asks it to stop, and kills it after `grace`.
    pub(crate) async fn stop(mut self, grace: Duration) -> Result<(), EngineError> {
        send(self.pid(), self.stop_signal.signal());
        if poll(grace, || self.ended()).await.is_some() {
            self.home.keeper().forget(self.pid());
            return Ok(());
        }
        tracing::warn!(pid = self.pid(), "engine does not stop and is killed");
        self.kill().await
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), EngineError> {
        // A child that is not reaped yet keeps its number, so this never hits a stranger.
        let _ = self.child.kill();
        let ended = poll(KILL_LIMIT, || self.ended()).await;
        ended.ok_or_else(|| EngineError::Timeout { what: format!("kill of {}", self.pid()), limit: KILL_LIMIT })?;
        self.home.keeper().forget(self.pid());
        Ok(())
    }
}

/// Stops a server left over by an earlier start: process `pid`, if its command line holds `mark`. Any other process with
/// that number is a stranger and left alone.
pub(crate) async fn stop_orphan(pid: u32, mark: &str, stop_signal: StopSignal) -> Result<(), EngineError> {
    let gone = || (!is_ours(pid, mark)).then_some(());
    if gone().is_some() {
        return Ok(());
    }
    tracing::info!(pid, "stopping an engine left over by an earlier start");
    send(pid, stop_signal.signal());
    if poll(ORPHAN_GRACE, gone).await.is_some() {
        return Ok(());
    }
    send(pid, Signal::KILL);
    let limit = KILL_LIMIT;
    poll(limit, gone).await.ok_or_else(|| EngineError::Timeout { what: format!("kill of orphan {pid}"), limit })
}

/// Looks every [`POLL`] until `look` answers, at most `limit`.
pub(crate) async fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(POLL).await;
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = raw(pid) {
        // The only answer of interest, "no such process", is what the caller polls for next.
        let _ = kill_process(pid, signal);
    }
}

fn is_ours(pid: u32, mark: &str) -> bool {
    raw(pid).is_some_and(|raw| test_kill_process(raw).is_ok() && command_line(pid).contains(mark))
}

/// Zero and numbers beyond a pid's range name groups of processes to `kill`: never signal those.
fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

/// Empty for a process that has ended, zombies included.
fn command_line(pid: u32) -> String {
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return String::from_utf8_lossy(&line).replace('\0', " ");
    }
    let listed = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
    listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    use super::{StopSignal, is_ours, poll, raw, stop_orphan};

    #[tokio::test]
    async fn strangers_are_left_alone_and_orphans_stopped() {
        // Its own output: a failed test must not leave a sleeper that holds the test runner's pipe.
        let mut child = Command::new("sleep").arg("611").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        stop_orphan(child.id(), "/some/other/folder", StopSignal::Terminate).await.unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        // For a moment after exec the system shows an empty command line.
        let shown = poll(Duration::from_secs(10), || is_ours(child.id(), "611").then_some(())).await;
        assert_eq!(shown, Some(()));
        stop_orphan(child.id(), "611", StopSignal::Terminate).await.unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn numbers_that_mean_groups_or_init_are_no_process() {
        for pid in [0, 1, u32::MAX, 1 << 31] {
            assert_eq!(raw(pid), None, "{pid}");
        }
    }
}
