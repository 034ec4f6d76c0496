//! The files of the database: which version wrote them, and how they are created. Never changes existing data.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    account::{self, Account},
    command,
    error::EngineError,
    folder,
    limits::INITDB_LIMIT,
    postgres::{DATABASE, USER},
};

/// Mode Postgres demands of its folder.
const DATA_MODE: u32 = 0o700;

/// The programs of Postgres and the user who runs them.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) bin: PathBuf,
    pub(crate) account: Option<Account>,
}

impl Tools {
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // The other user may be locked out of our working folder, and messages are searched for English phrases.
        command.current_dir("/").env("LC_ALL", "C").env_remove("PGDATA");
        account::assume(&mut command, self.account);
        command
    }
}

/// The major version that wrote `data`; `None` when there is no database yet.
pub(crate) fn version(data: &Path) -> Result<Option<u32>, EngineError> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::io("read", path)(source)),
    }
}

/// Creates the database in a folder beside `data` and renames it when it is whole, so that a start cut short leaves
/// nothing that looks like data.
pub(crate) async fn create(tools: &Tools, data: &Path) -> Result<(), EngineError> {
    let fresh = data.with_extension("new");
    folder::remove(&fresh)?;
    folder::create(&fresh, DATA_MODE)?;
    if let Some(Account { uid, gid }) = tools.account {
        chown(&fresh, Some(uid), Some(gid)).map_err(EngineError::io("change owner of", &fresh))?;
    }
    let mut initdb = tools.command("initdb");
    initdb.args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync", "-D"]);
    initdb.arg(&fresh);
    command::run(initdb, "", INITDB_LIMIT).await?;
    let mut single = tools.command("postgres");
    single.args(["--single", "-D"]).arg(&fresh).arg(USER);
    command::run(single, &format!("CREATE DATABASE {DATABASE};\n"), INITDB_LIMIT).await?;
    fs::rename(&fresh, data).map_err(EngineError::io("move to", data))
}
