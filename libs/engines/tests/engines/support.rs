//! Folders, processes and waiting for the tests of this crate.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// A folder that the unprivileged user of Postgres can pass through when the tests run as root.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().unwrap()
}

/// Polls `holds` until it does; panics naming `what` after a minute.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// A zombie counts as gone: it has stopped, and whoever adopted it has not looked yet.
pub fn is_alive(number: u32) -> bool {
    let zombie = fs::read_to_string(format!("/proc/{number}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    test_kill_process(pid(number)).is_ok() && !zombie
}

pub fn kill(number: u32) {
    kill_process(pid(number), Signal::KILL).unwrap();
}

/// Every process whose command line holds `mark`.
#[cfg(target_os = "linux")]
pub fn processes_of(mark: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(mark)
    })
    .collect()
}
