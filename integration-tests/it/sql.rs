//! The mesh's database, asked directly: what no service tells, and what only its operator does.

use runmesh_testkit::Mesh;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Protocol 3.0.
const PROTOCOL: i32 = 196_608;

/// Runs `text` as the server's superuser and answers the first column of every row, empty for NULL.
pub async fn query(mesh: &Mesh, text: &str) -> Vec<String> {
    let (user, rest) = mesh.postgres_url().strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).expect("a user");
    let (address, database) = rest.split_once('/').expect("a database");
    let mut stream = TcpStream::connect(address).await.expect("postgres listens");
    let hello = format!("user\0{user}\0database\0{database}\0\0");
    say(&mut stream, &[], &[&PROTOCOL.to_be_bytes(), hello.as_bytes()].concat()).await;
    rows(&mut stream).await;
    say(&mut stream, b"Q", format!("{text}\0").as_bytes()).await;
    rows(&mut stream).await
}

async fn say(stream: &mut TcpStream, kind: &[u8], body: &[u8]) {
    let length = i32::try_from(body.len() + 4).expect("a short message").to_be_bytes();
    stream.write_all(&[kind, &length, body].concat()).await.expect("postgres reads");
}

/// What comes until the server waits for the next query.
async fn rows(stream: &mut TcpStream) -> Vec<String> {
    let mut rows = Vec::new();
    loop {
        let kind = stream.read_u8().await.expect("postgres answers");
        let length = stream.read_i32().await.expect("a length");
        let mut body = vec![0; usize::try_from(length - 4).expect("a length")];
        stream.read_exact(&mut body).await.expect("the whole message");
        match kind {
            b'D' => rows.push(first_column(&body)),
            b'E' => panic!("postgres refused: {}", String::from_utf8_lossy(&body)),
            b'Z' => return rows,
            _ => {}
        }
    }
}

/// A row is the count of its columns, then each with its length, which is -1 for NULL.
fn first_column(row: &[u8]) -> String {
    let length = i32::from_be_bytes(row[2..6].try_into().expect("four bytes"));
    let end = 6 + usize::try_from(length).unwrap_or(0);
    String::from_utf8(row[6..end].to_vec()).expect("text")
}
