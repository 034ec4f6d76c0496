//! The second wall between tenants (T1), table by table, and what a read-only process may do.

use crate::fixture::{World, dispatched, done, model_step};
use crate::server;
use futures::FutureExt as _;
use runmesh_store::idempotency::{self, Key};
use runmesh_store::{Db, Role, Scope, StoreConfig, runs};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use std::str::FromStr as _;

/// One row of org "one" at least in every table that has an org.
async fn fill(world: &World) {
    let session = world.session().await;
    let lease = world.running(session).await;
    world.record(lease, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    world.release(lease).await.unwrap();
    world.late(lease, vec![done(1, 0, "x")]).await;
    let key = Key { org: world.org, user: world.user, method: "M", key: "k".into(), digest: [0; 32] };
    world
        .org_tx(move |tx| {
            let key = key.clone();
            async move { idempotency::remember(tx, &key, b"x").await }.boxed()
        })
        .await
        .unwrap();
}

async fn connect(url: &str) -> sqlx::postgres::PgConnection {
    sqlx::postgres::PgConnectOptions::from_str(url).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn no_table_shows_or_takes_a_row_of_another_org() {
    let world = World::new().await;
    let other = world.other("two").await;
    fill(&world).await;
    let mut connection = connect(&world.url).await;
    let tables = "SELECT c.relname::text, c.relrowsecurity AND c.relforcerowsecurity AS walled FROM pg_class c
                  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped
                  WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace";
    let tables = connection.fetch_all(tables).await.unwrap();
    assert!(tables.len() >= 12, "{} tables", tables.len());
    let (one, two) = (world.org.uuid(), other.org.uuid());
    for row in tables {
        let (table, walled): (String, bool) = (row.get(0), row.get(1));
        assert!(walled, "{table} has no wall");
        let all: i64 = server::value(&world.url, &format!("SELECT count(*) FROM {table} WHERE org_id = '{one}'")).await;
        assert!(all > 0, "{table} has no row to hide");
        for role in ["runmesh_app", "runmesh_reader"] {
            let begin = format!("BEGIN; SET LOCAL ROLE {role}; SET LOCAL runmesh.org = '{two}'");
            connection.execute(AssertSqlSafe(begin)).await.unwrap();
            let seen = connection.fetch_one(AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE org_id = '{one}'"))).await;
            assert_eq!(seen.unwrap().get::<i64, _>(0), 0, "{role} sees {table}");
            connection.execute("SAVEPOINT s").await.unwrap();
            let update = format!("UPDATE {table} SET org_id = org_id WHERE org_id = '{one}'");
            match connection.execute(AssertSqlSafe(update)).await {
                Ok(done) => assert_eq!((done.rows_affected(), role), (0, "runmesh_app"), "{role} changes {table}"),
                // A role may lack the right to change the table at all.
                Err(sqlx::Error::Database(problem)) => assert_eq!(problem.code().as_deref(), Some("42501"), "{role}: {table}"),
                Err(problem) => panic!("{role}: {table}: {problem}"),
            }
            connection.execute("ROLLBACK TO s").await.unwrap();
            // A row of its own org may not be given away.
            let give = format!("UPDATE {table} SET org_id = '{one}'");
            let rows: i64 = server::value(&world.url, &format!("SELECT count(*) FROM {table} WHERE org_id = '{two}'")).await;
            assert!(connection.execute(AssertSqlSafe(give)).await.is_err() || rows == 0, "{role} gives rows of {table} away");
            connection.execute("ROLLBACK").await.unwrap();
        }
    }
}

#[tokio::test]
async fn without_an_org_nothing_is_shown() {
    let world = World::new().await;
    fill(&world).await;
    let mut connection = connect(&world.url).await;
    connection.execute("BEGIN; SET LOCAL ROLE runmesh_app").await.unwrap();
    assert!(connection.fetch_all("SELECT * FROM runs").await.is_err());
}

#[tokio::test]
async fn a_reader_reads_every_org_and_writes_none() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    let config = StoreConfig { role: Role::Reader, ..StoreConfig::new(&world.url, "reader") };
    let db = Db::connect(&config).await.unwrap();
    let (org, run, user) = (world.org, sent.run, world.user);
    for scope in [Scope::Org(org), Scope::Reader(org), Scope::System] {
        assert_eq!(db.tx(scope, move |tx| runs::get(tx, org, run).boxed()).await.unwrap().run.id, run);
        assert!(db.tx(scope, move |tx| runs::cancel(tx, org, user, run).boxed()).await.is_err(), "{scope:?}");
    }
    let other = world.other("two").await.org;
    assert!(db.tx(Scope::Reader(other), move |tx| runs::get(tx, org, run).boxed()).await.is_err());
    assert!(world.db.tx(Scope::Reader(org), move |tx| runs::cancel(tx, org, user, run).boxed()).await.is_err());
    db.close().await;
    assert!(db.ping().await.is_err(), "closed is closed");
}

#[tokio::test]
async fn the_scope_ends_with_its_transaction() {
    let world = World::new().await;
    let other = world.other("two").await;
    let sent = world.send(world.thread().await, "x").await;
    let (org, run) = (world.org, sent.run);
    for _ in 0..20 {
        assert!(world.db.tx(Scope::Org(org), move |tx| runs::get(tx, org, run).boxed()).await.is_ok());
        assert!(world.db.tx(Scope::Org(other.org), move |tx| runs::get(tx, org, run).boxed()).await.is_err());
    }
}
