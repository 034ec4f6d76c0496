//! Signals, in processes of their own: the first drains, the second exits at once.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use runmesh_host::{Lifecycle, exit};

const ROLE: &str = "HOST_TEST_ROLE";

/// Not a test by itself: what the children of the tests below run.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let life = Lifecycle::new();
        life.handle_signals().unwrap();
        let soft = life.soft().clone();
        let is_stubborn = role == "stubborn";
        life.spawn::<_, Infallible>("work", async move {
            println!("ready");
            soft.cancelled().await;
            println!("draining");
            if is_stubborn {
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        life.run(Duration::from_secs(30)).await
    });
    std::process::exit(i32::from(if outcome.is_ok() { exit::OK } else { exit::FAULT }));
}

fn start(role: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn wait_for(output: &mut BufReader<ChildStdout>, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended before it said {word}");
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn the_first_signal_drains() {
    for name in ["-TERM", "-INT"] {
        let (mut child, mut output) = start("willing");
        wait_for(&mut output, "ready");
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(i32::from(exit::OK)), "{name}");
    }
}

#[test]
fn the_second_signal_exits_now() {
    let (mut child, mut output) = start("stubborn");
    wait_for(&mut output, "ready");
    signal(&child, "-TERM");
    wait_for(&mut output, "draining");
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(exit::INTERRUPTED)));
}
