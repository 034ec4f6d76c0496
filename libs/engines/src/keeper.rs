//! The keeper: a small shell that holds the read end of a pipe and stops the engines when the pipe closes, which the
//! system does for us however this process ends. It never acts while this process lives.
//!
//! Between the start of an engine and the line that names it to the keeper lie a few microseconds; a starter killed just
//! then leaves an orphan, which the next start on the same data stops.

use std::{
    fs::File,
    io::Write,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::{
    error::EngineError,
    limits::KEEPER_LIMIT,
    process::{self, StopSignal},
};

const SHELL: &str = "/bin/sh";

#[derive(Debug)]
pub(crate) struct Keeper {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once closed. Close-on-exec, so that no engine inherits it and holds the pipe open.
    pipe: Option<File>,
    child: Child,
}

impl Keeper {
    /// Starts a keeper that also removes `remove` at the end.
    pub(crate) fn start(remove: Option<&Path>) -> Result<Self, EngineError> {
        let mut child = Command::new(SHELL)
            .args(["-c", include_str!("keeper.sh"), "runmesh-keeper"])
            .arg(remove.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Ctrl-C goes to the foreground group: the starter drains first and stops its engines last.
            .process_group(0)
            .spawn()
            .map_err(EngineError::io("start keeper", SHELL))?;
        let pipe = child.stdin.take().map(|stdin| File::from(OwnedFd::from(stdin)));
        Ok(Self { state: Mutex::new(State { pipe, child }) })
    }

    /// From now on this engine is stopped with `signal` when this process is gone.
    pub(crate) fn watch(&self, pid: u32, signal: StopSignal) -> Result<(), EngineError> {
        self.tell(&format!("watch {pid} {}\n", signal.name()))
    }

    /// The engine is gone; its number may be given to a stranger.
    pub(crate) fn forget(&self, pid: u32) {
        if let Err(error) = self.tell(&format!("forget {pid}\n")) {
            tracing::warn!(%error, pid, "keeper does not listen");
        }
    }

    /// Lets the keeper do its work now and waits until it is done.
    pub(crate) async fn close(&self) -> Result<(), EngineError> {
        self.with(|state| state.pipe = None);
        let ended = || self.with(|state| state.child.try_wait()).map_err(EngineError::io("wait for", SHELL));
        match process::poll(KEEPER_LIMIT, || ended().transpose()).await {
            Some(result) => result.map(drop),
            None => Err(EngineError::Timeout { what: "keeper".to_owned(), limit: KEEPER_LIMIT }),
        }
    }

    fn tell(&self, line: &str) -> Result<(), EngineError> {
        // A line is far smaller than the pipe's buffer, so this does not block.
        self.with(|state| state.pipe.as_mut().map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes())))
            .map_err(EngineError::io("tell keeper", SHELL))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Reaps a keeper that has been closed; one that still works is left to it, and closes with the pipe.
        self.with(|state| {
            state.pipe = None;
            let _ = state.child.try_wait();
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::Keeper;
    use crate::process::StopSignal;

    fn sleeper(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    #[tokio::test]
    async fn stops_what_it_watches_and_removes_the_folder() {
        let folder = tempfile::tempdir().unwrap().keep();
        let keeper = Keeper::start(Some(&folder)).unwrap();
        let mut watched = sleeper("exec sleep 600");
        let mut forgotten = sleeper("exec sleep 600");
        keeper.watch(forgotten.id(), StopSignal::Terminate).unwrap();
        keeper.watch(watched.id(), StopSignal::Terminate).unwrap();
        keeper.forget(forgotten.id());

        keeper.close().await.unwrap();

        assert!(!watched.wait().unwrap().success());
        assert!(!folder.exists());
        assert_eq!(forgotten.try_wait().unwrap(), None);
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }

    #[tokio::test]
    async fn kills_what_does_not_stop() {
        let keeper = Keeper::start(None).unwrap();
        let mut stubborn = sleeper("trap '' TERM; while :; do sleep 1; done");
        keeper.watch(stubborn.id(), StopSignal::Terminate).unwrap();
        keeper.close().await.unwrap();
        assert!(!stubborn.wait().unwrap().success());
    }
}
