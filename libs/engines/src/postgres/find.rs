//! Where Postgres comes from: named, on this machine, in the cache, or installed. Never starts it as a server.

use std::{
    cmp::Reverse,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    account::{self, Account},
    command,
    error::{Engine, EngineError},
    folder,
    limits::VERSION_LIMIT,
    pip::{CACHE_MODE, Package},
    postgres::apt,
    progress::Progress,
    version::Version,
};

/// The oldest version still maintained when this was written, and the oldest the schema is tested with.
const MINIMUM: Version = Version::new(15, 0);
const VARIABLE: &str = "RUNMESH_POSTGRES_BIN";
/// The folder name carries the oldest version asked for: raising it installs anew.
const PACKAGE: Package = Package { name: "pgserver-0.1.4", requirement: "pgserver>=0.1.4,<1", binary: "initdb" };

/// Where distributions put each major version: parent folder, and how the names of its versions begin.
const VERSIONED: [(&str, &str); 4] =
    [("/usr/lib/postgresql", ""), ("/opt/homebrew/opt", "postgresql"), ("/usr/local/opt", "postgresql"), ("/usr", "pgsql-")];

/// A folder with `initdb` and `postgres` that `account` can run. With existing `data` of some major version, one of that version.
pub(crate) async fn ensure(
    cache_dir: &Path,
    account: Option<Account>,
    data: Option<(&Path, u32)>,
    progress: &dyn Progress,
) -> Result<PathBuf, EngineError> {
    if let Some(named) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let unusable = |reason| EngineError::NamedUnusable { engine: Engine::Postgres, variable: VARIABLE, reason };
        let found = check(Path::new(&named), account).await.map_err(unusable)?;
        return choose(vec![found], data);
    }
    let mut search = Search { account, usable: Vec::new(), tried: Vec::new() };
    search.all(on_this_machine(env::var_os("PATH"))).await;
    search.all(cached(cache_dir)).await;
    if search.usable.is_empty() {
        search.install(cache_dir, progress).await?;
    }
    if search.usable.is_empty() {
        return Err(EngineError::NotFound { engine: Engine::Postgres, tried: search.tried });
    }
    choose(search.usable, data)
}

/// What was found on the way, and why the rest did not do.
struct Search {
    account: Option<Account>,
    usable: Vec<Found>,
    tried: Vec<String>,
}

#[derive(Debug)]
struct Found {
    bin: PathBuf,
    version: Version,
}

impl Search {
    async fn all(&mut self, folders: Vec<PathBuf>) {
        for folder in folders {
            match check(&folder, self.account).await {
                Ok(found) => self.usable.push(found),
                Err(reason) => self.tried.push(reason),
            }
        }
    }

    async fn install(&mut self, cache_dir: &Path, progress: &dyn Progress) -> Result<(), EngineError> {
        let cache_dir = folder::create(cache_dir, CACHE_MODE)?;
        if apt::is_possible() {
            match apt::install(&cache_dir, progress).await {
                Ok(()) => self.all(on_this_machine(None)).await,
                Err(error) => self.tried.push(format!("install by apt-get: {error}")),
            }
        }
        if self.usable.is_empty() {
            match PACKAGE.install(&cache_dir, progress).await {
                Ok(_) => self.all(cached(&cache_dir)).await,
                Err(error) => self.tried.push(format!("install from pypi: {error}")),
            }
        }
        Ok(())
    }
}

/// The first one; with existing data, the first of the same major version.
fn choose(usable: Vec<Found>, data: Option<(&Path, u32)>) -> Result<PathBuf, EngineError> {
    let first = usable.first().map_or(0, |found| found.version.major);
    let mut fitting = usable.into_iter().filter(|found| data.is_none_or(|(_, major)| found.version.major == major));
    match (fitting.next(), data) {
        (Some(found), _) => Ok(found.bin),
        (None, Some((path, data))) => Err(EngineError::DataVersion { path: path.to_owned(), data, found: first }),
        (None, None) => Err(EngineError::NotFound { engine: Engine::Postgres, tried: Vec::new() }),
    }
}

/// The folders worth a look, in the order of preference.
fn on_this_machine(path: Option<OsString>) -> Vec<PathBuf> {
    let path = path.unwrap_or_default();
    let versioned = VERSIONED.iter().flat_map(|(parent, prefix)| newest_first(Path::new(parent), prefix));
    let folders = env::split_paths(&path).chain(versioned);
    folders.filter(|folder| folder.join("initdb").is_file()).collect()
}

fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(Version, PathBuf)> = Vec::new();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        if let Some(version) = Version::find(rest.trim_start_matches('@')) {
            versions.push((version, entry.path().join("bin")));
        }
    }
    versions.sort_by_key(|(version, _)| Reverse(*version));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

fn cached(cache_dir: &Path) -> Vec<PathBuf> {
    let initdb = PACKAGE.installed(cache_dir);
    initdb.as_deref().and_then(Path::parent).map(Path::to_owned).into_iter().collect()
}

/// Answers the real folder behind `folder`, or why it cannot be used.
async fn check(folder: &Path, account: Option<Account>) -> Result<Found, String> {
    // Programs are often links from a folder on PATH; `initdb` looks for `postgres` beside its real self.
    let initdb = folder.join("initdb");
    let initdb = initdb.canonicalize().map_err(|error| format!("{}: {error}", initdb.display()))?;
    let bin = initdb.parent().unwrap_or(folder).to_owned();
    let postgres = bin.join("postgres");
    for binary in [&initdb, &postgres] {
        account::check_binary(binary, account).map_err(|error| error.to_string())?;
    }
    let mut version = Command::new(&postgres);
    version.arg("--version");
    let printed = command::run(version, "", VERSION_LIMIT).await.map_err(|error| error.to_string())?;
    match Version::find(&printed) {
        Some(version) if version >= MINIMUM => Ok(Found { bin, version }),
        Some(version) => Err(format!("{} is version {version}, need {MINIMUM}", postgres.display())),
        None => Err(format!("{} does not tell its version", postgres.display())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
    };

    use super::{Found, check, choose, newest_first};
    use crate::{error::EngineError, version::Version};

    fn fake(bin: &Path, version: &str) {
        fs::create_dir_all(bin).unwrap();
        for name in ["initdb", "postgres"] {
            fs::write(bin.join(name), format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[tokio::test]
    async fn links_lead_to_the_real_folder_and_old_versions_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().canonicalize().unwrap();
        let (new, old, links) = (root.join("16/bin"), root.join("9.6/bin"), root.join("links"));
        fake(&new, "16.2");
        fake(&old, "9.6.24");
        fs::create_dir(&links).unwrap();
        symlink(new.join("initdb"), links.join("initdb")).unwrap();

        assert_eq!(check(&links, None).await.unwrap().bin, new);
        let reason = check(&old, None).await.unwrap_err();
        assert!(reason.contains("is version 9.6, need 15.0"), "{reason}");
        assert!(check(&root, None).await.is_err());
        assert_eq!(newest_first(&root, ""), [new, old]);
    }

    #[test]
    fn existing_data_decides_the_version() {
        let usable = || [17, 15].map(|major| Found { bin: format!("/{major}").into(), version: Version::new(major, 1) });
        let data = Path::new("/data");
        assert_eq!(choose(usable().into(), None).unwrap(), Path::new("/17"));
        assert_eq!(choose(usable().into(), Some((data, 15))).unwrap(), Path::new("/15"));
        let error = choose(usable().into(), Some((data, 16))).unwrap_err();
        assert!(matches!(error, EngineError::DataVersion { data: 16, found: 17, .. }), "{error}");
    }
}
