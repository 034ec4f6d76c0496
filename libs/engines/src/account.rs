//! Which user runs Postgres (which refuses to run as root), and whether that user can reach the files it needs.
//! Never opens a folder that this crate did not create.

use std::{
    fs::Metadata,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Command,
};

use crate::error::EngineError;

/// `nobody` and `nogroup` on every Linux.
const NOBODY: u32 = 65_534;

const READ: u32 = 4;
const ENTER: u32 = 1;

/// A user other than the one this process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The account for the database in `data`: `None` means as ourselves. Root runs an existing database as its owner.
pub(crate) fn for_data(data: &Path) -> Result<Option<Account>, EngineError> {
    let own = rustix::process::geteuid().as_raw();
    let owner = data.metadata().ok().map(|meta| Account { uid: meta.uid(), gid: meta.gid() });
    match owner {
        _ if own != 0 && owner.is_none_or(|owner| owner.uid == own) => Ok(None),
        Some(owner) if own != 0 => Err(EngineError::DataOwner { path: data.to_owned(), owner: owner.uid }),
        Some(owner) if owner.uid != 0 => Ok(Some(owner)),
        _ => Ok(Some(Account { uid: NOBODY, gid: NOBODY })),
    }
}

/// Makes `command` run as `account`, without the groups of this process.
pub(crate) fn assume(command: &mut Command, account: Option<Account>) {
    if let Some(Account { uid, gid }) = account {
        // With a uid and no explicit groups, the standard library also clears the supplementary groups.
        command.gid(gid).uid(uid);
    }
}

/// Checks that `account` can enter `folder` and every folder above it.
pub(crate) fn check_folder(folder: &Path, account: Option<Account>) -> Result<(), EngineError> {
    let Some(account) = account else {
        return Ok(());
    };
    let real = folder.canonicalize().map_err(EngineError::io("resolve", folder))?;
    for ancestor in real.ancestors() {
        check(ancestor, folder, account, ENTER)?;
    }
    Ok(())
}

/// Checks that `account` can run the program `binary`.
pub(crate) fn check_binary(binary: &Path, account: Option<Account>) -> Result<(), EngineError> {
    let Some(account) = account else {
        return Ok(());
    };
    if let Some(folder) = binary.parent() {
        check_folder(folder, Some(account))?;
    }
    check(binary, binary, account, READ | ENTER)
}

fn check(closed: &Path, path: &Path, account: Account, wanted: u32) -> Result<(), EngineError> {
    let meta = closed.metadata().map_err(EngineError::io("read", closed))?;
    if permits(&meta, account, wanted) {
        return Ok(());
    }
    Err(EngineError::NotReachable { folder: closed.to_owned(), path: path.to_owned(), uid: account.uid })
}

/// Access lists are not read: a folder opened only by one of them counts as closed.
fn permits(meta: &Metadata, account: Account, wanted: u32) -> bool {
    let shift = if meta.uid() == account.uid {
        6
    } else if meta.gid() == account.gid {
        3
    } else {
        0
    };
    (meta.mode() >> shift) & wanted == wanted
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::{Account, NOBODY, check_folder};
    use crate::error::EngineError;

    #[test]
    fn a_closed_parent_is_named() {
        let nobody = Some(Account { uid: NOBODY, gid: NOBODY });
        let closed = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let inner = closed.path().join("data");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();

        let error = check_folder(&inner, nobody).unwrap_err();
        let real = closed.path().canonicalize().unwrap();
        assert!(matches!(&error, EngineError::NotReachable { folder, .. } if *folder == real), "{error}");
        assert!(error.hint().contains(&format!("chmod o+x {}", real.display())));

        fs::set_permissions(closed.path(), Permissions::from_mode(0o711)).unwrap();
        check_folder(&inner, nobody).unwrap();
        check_folder(&inner, None).unwrap();
    }
}
