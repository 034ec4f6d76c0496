//! The one Postgres of this binary. Its runtime has a thread of its own, because every test has its own runtime.

use runmesh_engines::{DataDir, Durability, PostgresServer, ServerOptions, Silent};
use runmesh_store::Db;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use std::str::FromStr as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

static SERVER: LazyLock<String> = LazyLock::new(|| {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let options = ServerOptions { durability: Durability::ProcessDeath, ..ServerOptions::new(DataDir::Ephemeral) };
            let server = PostgresServer::start(&options, &Silent).await.unwrap();
            execute(server.url(), "CREATE DATABASE migrated").await;
            Db::migrate(&with_database(server.url(), "migrated")).await.unwrap();
            tell.send(server.url().to_owned()).unwrap();
            // Held until the process ends.
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
});

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database with the schema and nothing in it.
pub async fn migrated() -> String {
    create(" TEMPLATE migrated").await
}

/// A database with nothing at all.
pub async fn empty() -> String {
    create("").await
}

async fn create(how: &str) -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.clone()).await.unwrap();
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    execute(&server, &format!("CREATE DATABASE {name}{how}")).await;
    with_database(&server, &name)
}

fn with_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// A connection as the server's superuser, past every wall.
pub async fn connect(url: &str) -> sqlx::postgres::PgConnection {
    sqlx::postgres::PgConnectOptions::from_str(url).unwrap().connect().await.unwrap()
}

/// Runs statements as the server's superuser, past every wall.
pub async fn execute(url: &str, text: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The one value of a query, read as the server's superuser.
pub async fn value<T>(url: &str, text: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = connect(url).await;
    let value = sqlx::query_scalar(AssertSqlSafe(text.to_owned())).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    value
}

/// A transaction that has done `text` and holds what it locked until the connection is dropped.
pub async fn hold(url: &str, text: &str) -> sqlx::PgConnection {
    let mut connection = sqlx::postgres::PgConnectOptions::from_str(url).unwrap().connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {text}"))).execute(&mut connection).await.unwrap();
    connection
}
