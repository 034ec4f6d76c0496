//! Runs other people's programs with a deadline, and keeps what they need in a cache folder outside the checkout.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// How long a program that installs something may take.
pub(crate) const INSTALL: Duration = Duration::from_secs(240);
/// How long any other may.
pub(crate) const USE: Duration = Duration::from_secs(90);

/// One installation at a time in this process; other processes are kept out by renaming.
static INSTALLING: Mutex<()> = Mutex::const_new(());

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }
}

/// A program without input. It never outlives its test.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Starts a program.
pub(crate) fn start(mut command: Command) -> Child {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{program} is not installed; {}", how_to_install(&program)),
        _ => panic!("{program}: {error}"),
    })
}

fn how_to_install(program: &str) -> &'static str {
    match program {
        "python3" => "install Python 3.9 or newer with pip (Debian: python3 python3-pip)",
        "node" | "npm" => "install Node.js 20 or newer with npm (Debian: nodejs npm)",
        _ => "it should have been installed by this test",
    }
}

/// Runs a program to its end.
pub(crate) async fn run(command: Command, deadline: Duration) -> Ended {
    let what = format!("{:?}", command.as_std());
    ended(start(command), &what, deadline).await
}

/// Waits for the end of a program.
pub(crate) async fn ended(child: Child, what: &str, deadline: Duration) -> Ended {
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what}: no end within {deadline:?}")).expect("its output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A short name for `parts`, another one when any of them is another one.
pub(crate) fn fingerprint(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The cache folder of tests: `.ci/run` keeps its tools there too.
pub(crate) fn cache() -> PathBuf {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    named.unwrap_or_else(|| home.join(".cache")).join("runmesh-ci")
}

/// The folder `name` of the cache, filled by `fill` unless it is there: beside its place first, so that nobody ever finds
/// half of it.
pub(crate) async fn cached(name: &str, fill: impl AsyncFnOnce(&Path)) -> PathBuf {
    let _one = INSTALLING.lock().await;
    let place = cache().join(name);
    if !place.is_dir() {
        std::fs::create_dir_all(cache()).expect("the cache folder");
        let fresh = tempfile::Builder::new().prefix(".fresh-").tempdir_in(cache()).expect("a folder in the cache");
        fill(fresh.path()).await;
        let renamed = std::fs::rename(fresh.path(), &place);
        assert!(renamed.is_ok() || place.is_dir(), "{}: {renamed:?}", place.display());
    }
    place
}
