//! A shell that kills a process group when its standard input closes, which the system does however this process ends.

use crate::bench::failed;
use crate::failure::Failure;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Starts the keeper of `group`, in a group of its own.
pub(super) fn start(group: i32) -> Result<Child, Failure> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cat >/dev/null; kill -9 -- \"-$1\" 2>/dev/null", "runmesh-bench-keeper", &group.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().map_err(|error| failed("the keeper of the processes", error))
}
