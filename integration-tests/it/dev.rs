//! `runmesh dev`: the moment that sells it. Start, send, kill -9, start again, attach: the right text.

use runmesh_client::{Client, Options};
use runmesh_testkit::until;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_runmesh");

/// A `dev` process and what it printed.
pub struct Dev {
    child: Child,
    address: String,
}

impl Dev {
    /// Starts it on `folder` and reads the box until it names the gateway.
    fn start(folder: &std::path::Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// As [`Dev::start`], with more in its environment.
    pub fn start_with(folder: &std::path::Path, environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["dev", "--lease-ms", "3000", "--data-dir"]).arg(folder).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        let mut child = command.spawn().expect("dev starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("gateway")?;
            rest.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
        });
        Self { child, address: address.expect("the box names the gateway") }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.address, Options::default()).expect("a client")
    }

    /// SIGTERM, and waits until it has stopped in order.
    pub async fn stop(&mut self, deadline: Duration) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        let child = &mut self.child;
        let status = until("dev has stopped", deadline, || std::future::ready(child.try_wait().expect("its status"))).await;
        assert!(status.success(), "{status}");
    }

    fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the command line against `dev`; its exit code and what it printed.
fn runmesh(dev: &Dev, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(BINARY).arg("--address").arg(&dev.address).args(arguments).output().expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// A folder that the unprivileged user of the engines can enter.
pub fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_the_kill_of_everything() {
    let folder = folder();
    let mut dev = Dev::start(folder.path());
    let client = dev.client();
    let thread = client.create_thread("default", "").await.expect("a thread");
    let sent = client.send(thread, "slow:40x100", runmesh_client::SendOptions::default()).await.expect("accepted");
    until("the run is under way", Duration::from_secs(20), || {
        let client = client.clone();
        async move { client.get_run(sent.run).await.ok().filter(|run| run.fence == 1).map(drop) }
    })
    .await;
    dev.kill();

    let dev = Dev::start(folder.path());
    let (code, text) = runmesh(&dev, &["attach", &sent.run.to_string()]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("chunk-0") && text.contains("chunk-39"), "{text}");
    let run = dev.client().get_run(sent.run).await.expect("the run");
    assert!(run.fence > 1, "the run was taken up anew: {run:?}");

    let second = Command::new(BINARY).args(["dev", "--data-dir"]).arg(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("use"), "a second dev on the same data says so and stops: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_talks_to_it() {
    let folder = folder();
    let dev = Dev::start(folder.path());
    let (code, text) = runmesh(&dev, &["doctor"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("stream RM_LOG") && text.contains(" of 1 GiB, kept for 72 h"), "{text}");
    let (code, text) = runmesh(&dev, &["send", "--wait", "many:3"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("chunk-2"), "{text}");
    for command in [&["threads"][..], &["runs"], &["agents"], &["workers"], &["approvals"], &["top"]] {
        let (code, text) = runmesh(&dev, command);
        assert_eq!(code, 0, "{command:?}: {text}");
        let json: Vec<&str> = [command, &["--json"]].concat();
        let (code, text) = runmesh(&dev, &json);
        assert_eq!(code, 0, "{json:?}: {text}");
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{json:?}: {error}: {line}"));
        }
    }
    let (code, text) = runmesh(&dev, &["attach", "run_nonsense"]);
    assert!(code == 1 || code == 2, "{code}: {text}");
    let nowhere = Command::new(BINARY).args(["--address", "http://127.0.0.1:9", "runs"]).output().expect("it runs");
    assert_eq!(nowhere.status.code(), Some(69), "{}", String::from_utf8_lossy(&nowhere.stderr));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("runmesh dev"), "the error says what to do next");
}
