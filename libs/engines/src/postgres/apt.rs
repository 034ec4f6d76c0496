//! Installs Postgres as a Debian package, for root only. Never starts the system's own cluster.

use std::{env, fs, path::Path, process::Command};

use crate::{
    account, command,
    error::EngineError,
    limits::{APT_LIMIT, INSTALL_LOCK_LIMIT},
    lock::FileLock,
    progress::Progress,
};

/// Read by the package's install script; its only switch against a cluster that starts by itself.
const CLUSTER_SWITCH: &str = "/etc/postgresql-common/createcluster.conf";

/// Whether this process may and can install packages.
pub(crate) fn is_possible() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    account::is_root() && env::split_paths(&path).any(|folder| folder.join("apt-get").is_file())
}

/// Installs the distribution's `postgresql` package. The lock keeps two of our installs apart; apt's own keeps others away.
pub(crate) async fn install(cache_dir: &Path, progress: &dyn Progress) -> Result<(), EngineError> {
    let _lock = FileLock::take(&cache_dir.join("install.lock"), INSTALL_LOCK_LIMIT).await?;
    progress.step("installing postgresql from the distribution");
    prevent_cluster()?;
    if command::run(apt_get("install"), "", APT_LIMIT).await.is_ok() {
        return Ok(());
    }
    // Most often the package lists are missing or old.
    let mut update = Command::new("apt-get");
    update.arg("update");
    command::run(update, "", APT_LIMIT).await?;
    command::run(apt_get("install"), "", APT_LIMIT).await.map(drop)
}

fn apt_get(action: &str) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Keeps the switch below when the package brings its own file of that name.
        .env("UCF_FORCE_CONFFOLD", "1")
        .args([action, "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "postgresql"]);
    command
}

/// An existing file is the administrator's and stays as it is.
fn prevent_cluster() -> Result<(), EngineError> {
    let path = Path::new(CLUSTER_SWITCH);
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(EngineError::io("create folder", folder))?;
    }
    let text = "# written by runmesh before it installed postgresql: no cluster is created or started by the package\n\
                create_main_cluster = false\n";
    fs::write(path, text).map_err(EngineError::io("write", path))
}
