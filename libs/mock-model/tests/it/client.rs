//! A raw HTTP/1.1 client: it sees line ends, arrival times, and whether a body ended well.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer of these tests takes this long.
const DEADLINE: Duration = Duration::from_secs(20);

/// A response, read to the end of its connection.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// True when the body ended as HTTP says, false when the connection dropped before.
    pub complete: bool,
    /// When each read of the connection returned, with the bytes of the body until then.
    arrivals: Vec<(Instant, usize)>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The JSON of every event but `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    pub fn is_done(&self) -> bool {
        self.body.ends_with("data: [DONE]\n\n")
    }

    /// The deltas of all choices, in order.
    pub fn deltas(&self) -> Vec<Value> {
        let events = self.events();
        let choices = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
        choices.map(|choice| choice["delta"].clone()).collect()
    }

    /// The texts of the deltas that have any.
    pub fn chunks(&self) -> Vec<String> {
        let deltas = self.deltas();
        let texts = deltas.iter().filter_map(|delta| delta["content"].as_str());
        texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    pub fn text(&self) -> String {
        self.chunks().concat()
    }

    /// Every finish reason that came.
    pub fn finish_reasons(&self) -> Vec<String> {
        let events = self.events();
        let choices = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
        choices.filter_map(|choice| choice["finish_reason"].as_str()).map(str::to_owned).collect()
    }

    /// The time from the first byte to the last.
    pub fn spread(&self) -> Duration {
        let (first, last) = (self.arrivals[0].0, self.arrivals[self.arrivals.len() - 1].0);
        last - first
    }

    /// How many reads the response came in.
    pub fn reads(&self) -> usize {
        self.arrivals.len()
    }
}

/// Sends a request with these header lines and reads all of the response.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let mut arrivals = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => received.extend_from_slice(&buffer[..n]),
            }
            arrivals.push((Instant::now(), received.len()));
        }
        parse(&received, arrivals)
    };
    timeout(DEADLINE, exchange).await.unwrap()
}

/// Posts a streaming chat request of one user message.
pub async fn ask(address: SocketAddr, message: &str) -> Reply {
    chat(address, &body_of(message, true)).await
}

/// Posts a chat request of one user message that is not to be streamed.
pub async fn ask_whole(address: SocketAddr, message: &str) -> Reply {
    chat(address, &body_of(message, false)).await
}

/// Posts a chat request.
pub async fn chat(address: SocketAddr, body: &Value) -> Reply {
    request(address, "POST", "/v1/chat/completions", &[], &body.to_string()).await
}

/// A chat request of one user message.
pub fn body_of(message: &str, stream: bool) -> Value {
    json!({"model": "m-1", "stream": stream, "messages": [{"role": "user", "content": message}]})
}

fn parse(received: &[u8], arrivals: Vec<(Instant, usize)>) -> Reply {
    let split = received.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(received[..split].to_vec()).unwrap();
    let raw = &received[split + 4..];
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply { status, head, body: String::new(), complete: false, arrivals };
    let (body, complete) = match reply.header("content-length") {
        Some(length) => (raw.to_vec(), raw.len() == length.parse::<usize>().unwrap()),
        None => unchunk(raw),
    };
    reply.body = String::from_utf8(body).unwrap();
    reply.complete = complete;
    reply
}

/// Decodes a chunked body; false when the chunk that ends it is missing.
fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&raw[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let end = (line + 2 + size).min(raw.len());
        body.extend_from_slice(&raw[line + 2..end]);
        raw = raw.get(end + 2..).unwrap_or_default();
    }
    (body, false)
}
