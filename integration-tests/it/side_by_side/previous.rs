//! The binary of the release before this one, built from its commit into the target folder, once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The release before the first one that has a tag.
const UNTAGGED: &str = include_str!("previous-release");

/// The repository.
static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root"));

/// The path of the binary; nothing where there is no history to take it from, as in an unpacked archive, which is said.
pub(super) async fn binary() -> Option<PathBuf> {
    tokio::task::spawn_blocking(build).await.expect("it does not panic")
}

fn build() -> Option<PathBuf> {
    let Some(commit) = commit() else {
        eprintln!("no two versions side by side: this checkout has no commit of the previous release (git fetch --unshallow)");
        return None;
    };
    let folder = ROOT.join("target/previous").join(&commit);
    let binary = folder.join("bin/debug/runmesh");
    if !binary.exists() {
        let source = folder.join("source");
        std::fs::create_dir_all(&source).expect("a folder");
        unpack(&commit, &source);
        rename_version(&source.join("Cargo.toml"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "runmesh", "--bin", "runmesh"]).current_dir(&source);
        // The libraries that both releases depend on are built once.
        cargo.env("CARGO_BUILD_BUILD_DIR", ROOT.join("target")).env("CARGO_TARGET_DIR", folder.join("bin"));
        succeed(&mut cargo);
    }
    Some(binary)
}

/// The newest release that this checkout comes from.
fn commit() -> Option<String> {
    let tags = git(&["tag", "--merged", "HEAD", "--list", "v[0-9]*", "--sort=-v:refname"])?;
    let wanted = tags.lines().next().unwrap_or(UNTAGGED.trim()).to_owned();
    git(&["rev-parse", "--verify", "--quiet", &format!("{wanted}^{{commit}}")]).map(|commit| commit.trim().to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(&*ROOT).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unpack(commit: &str, into: &Path) {
    let archive = into.join("../source.tar");
    succeed(Command::new("git").arg("-C").arg(&*ROOT).args(["archive", "--output"]).arg(&archive).arg(commit));
    succeed(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(into));
}

/// Gives the crates of the previous release a version of their own. Cargo names the files of a workspace's crates by name and
/// version, not by folder: with the same version, this build would overwrite the crates of this checkout in the folder that both
/// builds share, and whatever cargo compiles next against them would fail.
fn rename_version(manifest: &Path) {
    let text = std::fs::read_to_string(manifest).expect("the previous release's manifest");
    let own = text.lines().find(|line| line.starts_with("version = ")).expect("the previous release's version");
    std::fs::write(manifest, text.replacen(own, "version = \"0.0.0-previous\"", 1)).expect("the manifest is written");
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
