//! The mock model by itself, over plain HTTP: how late its chunks come before anybody of the mesh has touched them.

use super::failed;
use super::latency::Latencies;
use super::paced::{Pace, now_micros};
use super::plan::PATIENCE;
use crate::failure::Failure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Reads `streams` paced streams at once, straight from the model.
pub(super) async fn read(port: u16, streams: usize, pace: Pace) -> Result<Latencies, Failure> {
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        tasks.spawn(async move { tokio::time::timeout(PATIENCE, one(port, pace)).await });
    }
    let mut all = Latencies::new();
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| failed("model", error))?.map_err(|_| failed("model", "took too long"))?;
        all.merge(&done?);
    }
    Ok(all)
}

async fn one(port: u16, pace: Pace) -> Result<Latencies, Failure> {
    let broken = |error| failed("model", error);
    let body = serde_json::json!({"model": "mock", "stream": true, "messages": [{"role": "user", "content": pace.hint()}]});
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.map_err(broken)?;
    socket.set_nodelay(true).map_err(broken)?;
    socket.write_all(request.as_bytes()).await.map_err(broken)?;
    let (mut latencies, mut rest, mut buffer) = (Latencies::new(), String::new(), vec![0; 16 << 10]);
    loop {
        let length = socket.read(&mut buffer).await.map_err(broken)?;
        if length == 0 {
            break;
        }
        let now = now_micros();
        rest.push_str(&String::from_utf8_lossy(&buffer[..length]));
        // An event ends with its line; what comes after the last end waits for the rest of it.
        while let Some(end) = rest.find('\n') {
            let line: String = rest.drain(..=end).collect();
            if let Some((_, content)) = line.split_once("\"content\":\"") {
                pace.take(content, now, &mut latencies);
            }
        }
    }
    if latencies.count() == pace.chunks { Ok(latencies) } else { Err(failed("model", format!("{} chunks", latencies.count()))) }
}
