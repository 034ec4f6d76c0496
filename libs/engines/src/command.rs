//! Runs a short program to its end, with a limit. Never used for the servers themselves.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{error::EngineError, limits::TAIL_BYTES_MAX};

/// Runs `command`, feeds it `input`, and returns what it printed on standard output. Killed at the limit.
pub(crate) async fn run(command: Command, input: &str, limit: Duration) -> Result<String, EngineError> {
    let program = command.get_program().to_string_lossy().into_owned();
    match timeout(limit, run_unbounded(command, input, &program)).await {
        Ok(result) => result,
        Err(_) => Err(EngineError::Timeout { what: program, limit }),
    }
}

async fn run_unbounded(command: Command, input: &str, program: &str) -> Result<String, EngineError> {
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(EngineError::io("run", program))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input is judged by its exit code, not by the broken pipe.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(EngineError::io("wait for", program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = [output.stdout, output.stderr].concat();
    let detail = format!("{}: {}", output.status, tail(&printed));
    Err(EngineError::Command { program: program.to_owned(), detail })
}

/// The end of a program's output, short enough for an error message.
pub(crate) fn tail(printed: &[u8]) -> String {
    let max = usize::try_from(TAIL_BYTES_MAX).unwrap_or(usize::MAX);
    let start = printed.len().saturating_sub(max);
    String::from_utf8_lossy(&printed[start..]).trim().to_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{process::Command, time::Duration};

    use super::run;
    use crate::error::EngineError;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn output_input_failure_and_limit() {
        assert_eq!(run(shell("cat"), "hello", LONG).await.unwrap(), "hello");

        let failed = run(shell("echo broken >&2; exit 3"), "", LONG).await.unwrap_err();
        assert!(matches!(&failed, EngineError::Command { detail, .. } if detail.contains("broken")), "{failed}");

        let slow = run(shell("exec sleep 60"), "", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(slow, EngineError::Timeout { .. }), "{slow}");
    }
}
