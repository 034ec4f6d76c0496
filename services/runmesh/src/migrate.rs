//! `runmesh migrate`: brings a database to the schema of this version, and says what it did. Never starts a service.

use crate::cli::Done;
use crate::failure::Failure;
use clap::Args;
use runmesh_host::config;
use runmesh_store::{Db, Migrated};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::path::PathBuf;

/// Options of `runmesh migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    /// The database, as a role that may create roles and tables. It wins over the settings.
    #[arg(long, env = "RUNMESH_POSTGRES_URL", hide_env_values = true)]
    postgres_url: Option<String>,
    /// A TOML or YAML file with a section `migrate`; `RUNMESH_MIGRATE__POSTGRES_URL` in the environment wins over it.
    #[arg(long, short, env = "RUNMESH_CONFIG")]
    config: Option<PathBuf>,
}

/// The section `migrate` of the settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The database, as a role that may create roles and tables.
    postgres_url: SecretString,
}

impl Migrate {
    /// Applies what is missing.
    ///
    /// # Errors
    /// [`Failure`] with the exit code: 64 when no database is named, 69 when it cannot be reached or used.
    pub async fn run(self) -> Result<Done, Failure> {
        let Self { postgres_url, config } = self;
        let settings: Config = config::load("migrate", config.as_deref()).map_err(|error| Failure::config(error.to_string()))?;
        let url = postgres_url.map_or(settings.postgres_url, SecretString::from);
        if url.expose_secret().is_empty() {
            return Err(Failure::config("no database is named")
                .with_hint("runmesh migrate --postgres-url postgres://…, or set RUNMESH_MIGRATE__POSTGRES_URL"));
        }
        let migrated = Db::migrate(url.expose_secret()).await.map_err(Failure::start)?;
        for line in lines(&migrated) {
            println!("{line}");
        }
        Ok(Done::Well)
    }
}

/// What was done, in words.
fn lines(migrated: &Migrated) -> Vec<String> {
    let Migrated { applied, schema } = migrated;
    let mut lines: Vec<_> = applied.iter().map(|(number, name)| format!("applied {number:04} {name}")).collect();
    let mut last = format!("the database is at migration {}", schema.newest);
    if applied.is_empty() {
        last.push_str(": nothing was missing");
    }
    if schema.newest > schema.known {
        last.push_str(&format!("; this version knows {}, and a newer one has migrated it", schema.known));
    }
    lines.push(last);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_store::Schema;

    #[test]
    fn it_says_what_it_applied_and_where_the_database_is() {
        let schema = |newest| Schema { newest, known: 13, min_compatible: 13, missing: [].into() };
        let applied = vec![(12, "places".to_owned()), (13, "compatibility".to_owned())];
        let said = lines(&Migrated { applied, schema: schema(13) });
        assert_eq!(said, ["applied 0012 places", "applied 0013 compatibility", "the database is at migration 13"]);
        let again = lines(&Migrated { applied: vec![], schema: schema(13) });
        assert_eq!(again, ["the database is at migration 13: nothing was missing"]);
        let older = lines(&Migrated { applied: vec![], schema: schema(20) });
        assert!(older[0].ends_with("this version knows 13, and a newer one has migrated it"), "{older:?}");
    }
}
