//! What Postgres writes about itself into `postmaster.pid`. Never trusted alone: the number may be a stranger's by now.

use std::{fs, path::Path};

/// Line 8 says how far the server is.
const STATUS_LINE: usize = 7;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    pub(crate) ready: bool,
}

impl PidFile {
    /// `None` when there is none, or when Postgres has not written its first line yet.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // Negative in single-user mode.
        let pid: i32 = lines.next()?.trim().parse().ok()?;
        let ready = lines.nth(STATUS_LINE - 1).is_some_and(|line| line.trim() == "ready");
        Some(Self { pid: pid.unsigned_abs(), ready })
    }
}

#[cfg(test)]
mod tests {
    use super::PidFile;

    #[test]
    fn reads_each_stage_of_a_start() {
        let early = "4711\n/data\n1700000000\n5433\n";
        assert_eq!(PidFile::parse(early), Some(PidFile { pid: 4711, ready: false }));
        let starting = format!("{early}\n127.0.0.1\n  1234  5678\nstarting\n");
        assert_eq!(PidFile::parse(&starting), Some(PidFile { pid: 4711, ready: false }));
        let ready = format!("{early}\n127.0.0.1\n  1234  5678\nready   \n");
        assert_eq!(PidFile::parse(&ready), Some(PidFile { pid: 4711, ready: true }));
        assert_eq!(PidFile::parse("-42\n/data\n"), Some(PidFile { pid: 42, ready: false }));
        assert_eq!(PidFile::parse(""), None);
    }
}
