//! Two versions on one database: which schema a build starts on, which it refuses, and what migrating beside others does.

use crate::server;
use runmesh_domain::error::Fault;
use runmesh_domain::{Error, Result};
use runmesh_store::{Db, MIGRATION_LOCK, Role, StoreConfig, newest_migration};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::str::FromStr as _;

async fn connect(url: &str) -> Result<Db> {
    Db::connect(&StoreConfig::new(url, "test")).await
}

/// The words of a database that this build cannot use.
fn refused<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(Error::Fault(Fault::Unusable { part: "postgres", detail })) => detail,
        other => panic!("not refused: {other:?}"),
    }
}

/// As a newer version would leave it.
async fn migrated_by_a_newer_version() -> String {
    let url = server::migrated().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9000, 'of a newer version', true, '\\x00', 0)";
    server::execute(&url, newer).await;
    url
}

#[tokio::test]
async fn a_database_without_a_schema_is_refused_in_words() {
    let url = server::empty().await;
    let words = refused(connect(&url).await);
    assert!(words.contains("no schema yet") && words.contains("runmesh migrate"), "{words}");
}

#[tokio::test]
async fn a_schema_that_lacks_a_migration_is_refused_in_words() {
    let url = server::migrated().await;
    let known = newest_migration();
    server::execute(&url, &format!("DELETE FROM _sqlx_migrations WHERE version = {known}")).await;
    let words = refused(connect(&url).await);
    assert!(words.contains(&format!("lacks migration {known}")) && words.contains("runmesh migrate"), "{words}");
    let reader = StoreConfig { role: Role::Reader, ..StoreConfig::new(&url, "reader") };
    refused(Db::connect(&reader).await);
}

#[tokio::test]
async fn an_older_version_starts_on_a_newer_schema_and_migrates_nothing() {
    let url = migrated_by_a_newer_version().await;
    let schema = connect(&url).await.unwrap().schema().await.unwrap();
    assert_eq!((schema.newest, schema.known), (9000, newest_migration()));
    let migrated = Db::migrate(&url).await.unwrap();
    assert_eq!(migrated.applied, []);
    assert_eq!(migrated.schema, schema);
}

#[tokio::test]
async fn a_schema_that_serves_only_newer_versions_is_refused_in_words() {
    let url = migrated_by_a_newer_version().await;
    server::execute(&url, "UPDATE schema_compatibility SET min_compatible = 9000").await;
    for words in [refused(connect(&url).await), refused(Db::migrate(&url).await)] {
        assert!(words.contains("that know migration 9000") && words.contains("run a newer version"), "{words}");
    }
}

/// What a service may do with a login that was granted the two roles and nothing else.
#[tokio::test]
async fn a_service_needs_no_right_to_change_the_schema() {
    let url = server::migrated().await;
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    let login = format!("login_{name}");
    let make = format!(
        "CREATE ROLE {login} LOGIN PASSWORD 'x' IN ROLE runmesh_app, runmesh_system; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    );
    server::execute(&url, &make).await;
    let (head, tail) = url.split_once('@').unwrap();
    let scheme = head.split_once("://").unwrap().0;
    let own = format!("{scheme}://{login}:x@{tail}");
    let db = connect(&own).await.unwrap();
    assert_eq!(db.schema().await.unwrap().missing.len(), 0);
    let mut connection = sqlx::postgres::PgConnectOptions::from_str(&own).unwrap().connect().await.unwrap();
    for change in ["CREATE TABLE x (a int)", "UPDATE schema_compatibility SET min_compatible = 1", "DELETE FROM _sqlx_migrations"]
    {
        assert!(connection.execute(change).await.is_err(), "{change}");
    }
    connection.close().await.unwrap();
    db.close().await;
}

/// Waits until some `runmesh migrate` asks for its turn.
async fn until_one_waits(url: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name = 'runmesh migrate' AND query LIKE '%pg_try_advisory_lock%'";
    while server::value::<i64>(url, waits).await == 0 {
        assert!(std::time::Instant::now() < deadline, "nobody waits");
    }
}

/// A session that waits for its turn inside a statement holds a snapshot, which a concurrent build would wait for in turn.
#[tokio::test]
async fn who_waits_to_migrate_does_not_hold_up_a_concurrent_index_build() {
    let url = server::migrated().await;
    let mut other = sqlx::postgres::PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION_LOCK).execute(&mut other).await.unwrap();
    let build = async {
        until_one_waits(&url).await;
        other.execute("SET statement_timeout = '20s'").await.unwrap();
        other.execute("CREATE INDEX CONCURRENTLY built_meanwhile ON runs (created_at)").await.unwrap();
        // The lock goes with the session, and it is the other one's turn.
        other.close().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(Db::migrate(&url), build);
    assert_eq!(migrated.unwrap().applied, []);
}
