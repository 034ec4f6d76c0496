//! Creates the folders of the engines. Opens only folders it created; folders that exist keep their mode.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{account, error::EngineError, limits::PACKAGE_DEPTH_MAX};

/// Mode of a new folder on the way to data: private, unless another user must pass through it to run Postgres.
pub(crate) fn data_mode() -> u32 {
    if account::is_root() { 0o711 } else { 0o700 }
}

/// Creates `path` and its missing parents, each with `mode` whatever the umask, and returns it as an absolute path.
pub(crate) fn create(path: &Path, mode: u32) -> Result<PathBuf, EngineError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => {
                fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(EngineError::io("set mode of", folder))?
            }
            // Another process was faster; the folder is its.
            Err(_) if folder.is_dir() => {}
            Err(source) => return Err(EngineError::io("create folder", folder)(source)),
        }
    }
    path.canonicalize().map_err(EngineError::io("resolve", path))
}

/// Removes a folder with all it holds; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io("remove", path)(source)),
        _ => Ok(()),
    }
}

/// Removes a file; a missing one is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io("remove", path)(source)),
        _ => Ok(()),
    }
}

/// The largest regular file called `name` under `root` (packages may also hold a small launcher of that name).
pub(crate) fn find_file(root: &Path, name: &str) -> Option<PathBuf> {
    let mut found = Vec::new();
    collect(root, name, PACKAGE_DEPTH_MAX, &mut found);
    found.into_iter().max_by_key(|(size, _)| *size).map(|(_, path)| path)
}

fn collect(folder: &Path, name: &str, depth: usize, found: &mut Vec<(u64, PathBuf)>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => collect(&path, name, depth, found),
            Ok(meta) if meta.is_file() && entry.file_name() == name => found.push((meta.len(), path)),
            _ => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::{create, find_file, remove};

    #[test]
    fn new_folders_get_the_mode_and_old_ones_keep_theirs() {
        let base = tempfile::tempdir().unwrap();
        let before = base.path().metadata().unwrap().mode();
        let path = create(&base.path().join("a/b"), 0o711).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o711);
        assert_eq!(base.path().join("a").metadata().unwrap().mode() & 0o777, 0o711);
        assert_eq!(base.path().metadata().unwrap().mode(), before);
        create(&path, 0o700).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o711);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn the_binary_is_found_beside_its_launcher() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("pkg/inner")).unwrap();
        fs::write(base.path().join("tool"), "launcher").unwrap();
        fs::write(base.path().join("pkg/inner/tool"), "a binary, which is larger").unwrap();
        assert_eq!(find_file(base.path(), "tool"), Some(base.path().join("pkg/inner/tool")));
        assert_eq!(find_file(base.path(), "other"), None);
    }
}
