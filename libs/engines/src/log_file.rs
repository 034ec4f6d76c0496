//! The log file of one server: where its output goes and what an error quotes of it. Never parsed beyond a few phrases
//! that tell a passing failure from a lasting one.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::{
    command,
    error::EngineError,
    limits::{LOG_BYTES_MAX, TAIL_BYTES_MAX},
};

#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log for one life of the server and says at which byte that life begins. A grown log is set aside
    /// first, so that the two together stay bounded over any number of starts.
    pub(crate) fn begin(&self) -> Result<(File, u64), EngineError> {
        if self.len() > LOG_BYTES_MAX {
            let aside = self.path.with_extension("log.1");
            fs::rename(&self.path, &aside).map_err(EngineError::io("set aside", &self.path))?;
        }
        let file =
            OpenOptions::new().create(true).append(true).open(&self.path).map_err(EngineError::io("open log", &self.path))?;
        Ok((file, self.len()))
    }

    /// The end of the log, not reaching back before byte `from`. Empty when it cannot be read.
    pub(crate) fn tail(&self, from: u64) -> String {
        let start = from.max(self.len().saturating_sub(TAIL_BYTES_MAX));
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.take(TAIL_BYTES_MAX).read_to_end(&mut text)
        });
        if read.is_ok() { command::tail(&text) } else { String::new() }
    }

    fn len(&self) -> u64 {
        self.path.metadata().map_or(0, |meta| meta.len())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{fs, io::Write};

    use super::LogFile;
    use crate::limits::LOG_BYTES_MAX;

    #[test]
    fn a_life_quotes_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::new(folder.path().join("x.log"));
        let (mut file, _) = log.begin().unwrap();
        writeln!(file, "first life").unwrap();
        let (mut file, from) = log.begin().unwrap();
        assert_eq!(log.tail(from), "");
        writeln!(file, "second life").unwrap();
        assert_eq!(log.tail(from), "second life");
    }

    #[test]
    fn a_grown_log_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::File::create(&path).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        let (_, from) = LogFile::new(path).begin().unwrap();
        assert_eq!(from, 0);
        assert!(folder.path().join("x.log.1").exists());
    }
}
