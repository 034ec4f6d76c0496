//! The home of running servers: a folder that is locked for this process, and the keeper that cleans up after it.
//! Knows nothing of what is in the folder.

use std::{
    env,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{error::EngineError, folder, keeper::Keeper, lock::FileLock, options::DataDir};

/// Shared by the servers that live in it; freed when the last of them is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    folder: PathBuf,
    // Declared before the lock: the pipe closes first.
    keeper: Keeper,
    _lock: FileLock,
}

impl Home {
    /// Creates the folder where needed and takes its lock. A held lock is an error at once: its holder is alive.
    pub(crate) fn open(data_dir: &DataDir) -> Result<Arc<Self>, EngineError> {
        let (folder, remove) = match data_dir {
            DataDir::Persistent(path) => (folder::create(path, folder::data_mode())?, None),
            DataDir::Ephemeral => {
                let path = ephemeral()?;
                (path.clone(), Some(path))
            }
        };
        let lock = FileLock::try_take(&folder.join("lock"))?;
        let lock = lock.ok_or_else(|| EngineError::DataInUse { path: folder.clone() })?;
        let keeper = Keeper::start(remove.as_deref())?;
        Ok(Arc::new(Self { folder, keeper, _lock: lock }))
    }

    /// Absolute, without links.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }
}

fn ephemeral() -> Result<PathBuf, EngineError> {
    let parent = env::temp_dir();
    let made = tempfile::Builder::new()
        .prefix("runmesh-")
        .permissions(Permissions::from_mode(folder::data_mode()))
        .tempdir_in(&parent)
        .map_err(EngineError::io("create folder in", &parent))?;
    // Kept here, because the keeper removes it: also when this process is killed.
    let path = made.keep();
    path.canonicalize().map_err(EngineError::io("resolve", path))
}
