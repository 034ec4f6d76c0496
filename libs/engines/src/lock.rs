//! Exclusive file locks. The system frees them when the holder dies, so none is ever stale; the files stay and hold nothing.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{error::EngineError, limits::POLL};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// `None` when somebody else (or another part of this process) holds the lock.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, EngineError> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(EngineError::io("open lock", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(EngineError::io("lock", path)(source)),
        }
    }

    /// Waits for the lock, at most `limit`.
    pub(crate) async fn take(path: &Path, limit: Duration) -> Result<Self, EngineError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(EngineError::Timeout { what: format!("lock {}", path.display()), limit });
            }
            sleep(POLL).await;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use super::FileLock;

    #[tokio::test]
    async fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert!(FileLock::try_take(&path).unwrap().is_none());
        assert!(FileLock::take(&path, Duration::from_millis(50)).await.is_err());
        drop(held);
        assert!(FileLock::try_take(&path).unwrap().is_some());
    }
}
