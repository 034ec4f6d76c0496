//! What a caller may choose. Reads the environment only for default folders; never touches the disk.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::account;

/// Where the data of the engines lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataDir {
    /// This folder, created when missing, kept at the end. Held exclusively while the engines run.
    Persistent(PathBuf),
    /// A new folder in the system's temporary folder, removed at the end, also when the starter is killed.
    Ephemeral,
}

/// What the data survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A commit of Postgres survives a power loss. NATS keeps its own default: acked messages survive the death of
    /// its process, not a power loss within two minutes.
    #[default]
    Fsync,
    /// A commit survives the death of every process, not a power loss. For tests on slow disks only.
    ProcessDeath,
}

/// How to start both engines.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where the data lives.
    pub data_dir: DataDir,
    /// Where engines are installed that this machine lacks; shared by all processes of a user.
    pub cache_dir: PathBuf,
    /// Use this Postgres and start none.
    pub postgres_url: Option<String>,
    /// Use this NATS and start none.
    pub nats_url: Option<String>,
    /// What the data survives.
    pub durability: Durability,
}

impl EngineOptions {
    /// Both engines started on `data_dir`, with the defaults for everything else.
    #[must_use]
    pub fn new(data_dir: DataDir) -> Self {
        Self { data_dir, cache_dir: default_cache_dir(), postgres_url: None, nats_url: None, durability: Durability::default() }
    }
}

/// How to start one engine by itself.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where its data lives. One server per folder: the folder is held exclusively.
    pub data_dir: DataDir,
    /// See [`EngineOptions::cache_dir`].
    pub cache_dir: PathBuf,
    /// See [`EngineOptions::durability`].
    pub durability: Durability,
}

impl ServerOptions {
    /// The defaults on `data_dir`.
    #[must_use]
    pub fn new(data_dir: DataDir) -> Self {
        Self { data_dir, cache_dir: default_cache_dir(), durability: Durability::default() }
    }
}

/// `$XDG_CACHE_HOME/runmesh`, else `~/.cache/runmesh`; for root `/var/cache/runmesh`, because root's home is usually
/// closed to the unprivileged user that then runs Postgres.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    cache_dir_of(folder("XDG_CACHE_HOME"), folder("HOME"), account::is_root())
}

fn cache_dir_of(xdg: Option<PathBuf>, home: Option<PathBuf>, root: bool) -> PathBuf {
    match (xdg, home) {
        (Some(xdg), _) => xdg.join("runmesh"),
        (None, _) if root => Path::new("/var/cache/runmesh").to_owned(),
        (None, Some(home)) => home.join(".cache/runmesh"),
        (None, None) => env::temp_dir().join("runmesh-cache"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::cache_dir_of;

    #[test]
    fn cache_folder_follows_the_environment() {
        let (xdg, home) = (|| Some(PathBuf::from("/x")), || Some(PathBuf::from("/home/ann")));
        assert_eq!(cache_dir_of(xdg(), home(), true), PathBuf::from("/x/runmesh"));
        assert_eq!(cache_dir_of(None, home(), false), PathBuf::from("/home/ann/.cache/runmesh"));
        assert_eq!(cache_dir_of(None, home(), true), PathBuf::from("/var/cache/runmesh"));
        assert!(cache_dir_of(None, None, false).is_absolute());
    }
}
