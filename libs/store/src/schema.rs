//! Which schema a database has, and whether this build can work on it. Only reads.
//!
//! *Invariant:* a build starts on every schema that has all migrations it knows and whose bound of compatibility is not above
//! the newest of them. So two versions run side by side, and going back is no outage.

use crate::error;
use crate::migrate::{known, newest_migration};
use runmesh_domain::{Fault, Result};
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;

/// The schema of a database beside what this build knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The newest migration that was applied; 0 before the first.
    pub newest: i64,
    /// The newest migration that this build knows.
    pub known: i64,
    /// The newest migration that a build must know to work on this database; 0 when the database does not say.
    pub min_compatible: i64,
    /// Migrations that this build knows and the database lacks.
    pub missing: BTreeSet<i64>,
}

impl Schema {
    /// Whether this build can serve on it.
    ///
    /// # Errors
    /// [`Fault::Unusable`], with words for an operator.
    pub fn check(&self) -> Result<()> {
        self.check_bound()?;
        let Self { newest, known, missing, .. } = self;
        let Some(first) = missing.first() else { return Ok(()) };
        let has = match newest {
            0 => "the database has no schema yet".to_owned(),
            newest if missing.len() == 1 => format!("the database is at migration {newest} and lacks migration {first}"),
            newest => format!("the database is at migration {newest} and lacks {} migrations from {first} on", missing.len()),
        };
        Err(unusable(format!("{has}; this version of runmesh needs all up to {known}: run `runmesh migrate` first")))
    }

    /// Whether this build is new enough for it.
    pub(crate) fn check_bound(&self) -> Result<()> {
        let Self { newest, known, min_compatible, .. } = self;
        if min_compatible <= known {
            return Ok(());
        }
        Err(unusable(format!(
            "the database is at migration {newest}, which serves only versions of runmesh that know migration {min_compatible}; \
             this one knows {known}: run a newer version"
        )))
    }
}

fn unusable(detail: String) -> runmesh_domain::Error {
    Fault::unusable(error::PART, detail).into()
}

/// The schema of this connection's database.
pub(crate) async fn read(connection: &mut PgConnection) -> Result<Schema> {
    let known = known();
    let applied: BTreeSet<i64> = if has_table(connection, "_sqlx_migrations").await? {
        let query = "SELECT version FROM _sqlx_migrations WHERE success";
        let rows: Vec<i64> = sqlx::query_scalar(query).fetch_all(&mut *connection).await.map_err(error::sql)?;
        rows.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let min_compatible = if has_table(connection, "schema_compatibility").await? {
        let query = "SELECT min_compatible FROM schema_compatibility";
        sqlx::query_scalar(query).fetch_optional(&mut *connection).await.map_err(error::sql)?.unwrap_or(0)
    } else {
        0
    };
    Ok(Schema {
        newest: applied.last().copied().unwrap_or(0),
        known: newest_migration(),
        min_compatible,
        missing: known.difference(&applied).copied().collect(),
    })
}

async fn has_table(connection: &mut PgConnection, name: &str) -> Result<bool> {
    let query = "SELECT to_regclass($1) IS NOT NULL";
    sqlx::query_scalar(query).bind(name).fetch_one(&mut *connection).await.map_err(error::sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(newest: i64, min_compatible: i64, missing: &[i64]) -> Schema {
        Schema { newest, known: 13, min_compatible, missing: missing.iter().copied().collect() }
    }

    fn words(schema: &Schema) -> String {
        schema.check().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_newer_schema_serves_unless_it_says_otherwise() {
        assert_eq!(words(&schema(13, 13, &[])), "");
        assert_eq!(words(&schema(20, 13, &[])), "");
        let refused = words(&schema(20, 14, &[]));
        assert!(refused.contains("at migration 20") && refused.contains("know migration 14; this one knows 13"), "{refused}");
    }

    #[test]
    fn an_older_schema_says_what_it_lacks_and_what_to_run() {
        let refused = words(&schema(8, 0, &[9, 13]));
        assert!(refused.contains("at migration 8 and lacks 2 migrations from 9 on"), "{refused}");
        assert!(refused.contains("needs all up to 13: run `runmesh migrate`"), "{refused}");
        assert!(words(&schema(0, 0, &[1, 2])).contains("no schema yet"));
        // A number in the middle is as missing as one at the end.
        assert!(words(&schema(20, 13, &[12])).contains("lacks migration 12"));
    }
}
