//! A shell that kills a process group when its standard input closes, which the system does however this process ends.

use crate::bench::failed;
use crate::failure::Failure;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Starts the keeper of `group`, in a group of its own.
pub(super) fn start(group: i32) -> Result<Child, Failure> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cat >/dev/null; kill -s KILL -- \"-$1\" 2>/dev/null", "runmesh-bench-keeper", &group.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().map_err(|error| failed("the keeper of the processes", error))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::{Duration, Instant};

    #[test]
    fn the_group_dies_with_the_input() {
        let mut victim = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let mut keeper = start(i32::try_from(victim.id()).unwrap()).unwrap();
        assert!(victim.try_wait().unwrap().is_none(), "it lives as long as the input is open");
        drop(keeper.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            match victim.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    victim.kill().unwrap();
                    panic!("the group outlived the input");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert_eq!(status.signal(), Some(9));
        keeper.wait().unwrap();
    }
}
