//! Where `dev` keeps its data, and the keys of its mesh.

use super::Dev;
use crate::failure::Failure;
use runmesh_engines::{DataDir, Engines};
use runmesh_host::signed::MeshKey;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The folder that the options name, or the system's own place for data.
pub fn folder(dev: &Dev) -> Result<DataDir, Failure> {
    if dev.ephemeral {
        return Ok(DataDir::Ephemeral);
    }
    let folder = match &dev.data_dir {
        Some(folder) => folder.clone(),
        None => default_folder()?,
    };
    let folder = std::path::absolute(&folder).map_err(|error| Failure::config(format!("{}: {error}", folder.display())))?;
    Ok(DataDir::Persistent(folder))
}

fn default_folder() -> Result<PathBuf, Failure> {
    if let Some(data) = std::env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()) {
        return Ok(Path::new(&data).join("runmesh"));
    }
    // Root's Postgres runs as another user, who cannot enter root's home.
    if rustix::process::getuid().is_root() {
        return Ok(PathBuf::from("/var/lib/runmesh"));
    }
    let home = std::env::var_os("HOME").filter(|path| !path.is_empty());
    let home = home.ok_or_else(|| Failure::config("no home folder").with_hint("name a folder: --data-dir FOLDER"))?;
    Ok(Path::new(&home).join(".local/share/runmesh"))
}

/// The log of the services.
pub fn log_file(engines: &Engines) -> PathBuf {
    engines.data_dir().join("runmesh.log")
}

/// A key of the mesh: made once, then the same for ever, so that what it signed stays good over a restart.
pub fn key(folder: &Path, name: &str) -> Result<MeshKey, Failure> {
    let path = folder.join(name);
    let refused = |error: &dyn std::fmt::Display| Failure::unavailable(format!("{}: {error}", path.display()));
    if path.exists() {
        return MeshKey::from_file(&path).map_err(|error| refused(&error));
    }
    let key = MeshKey::generate().map_err(|error| refused(&error))?;
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).map_err(|error| refused(&error))?;
    file.write_all(key.expose_hex().as_bytes()).map_err(|error| refused(&error))?;
    Ok(key)
}
