//! Just enough of both protocols to store something and read it back, so that these tests need no client library.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

pub fn port_of(url: &str) -> u16 {
    let address = url.rsplit_once(':').unwrap().1;
    address.split('/').next().unwrap().parse().unwrap()
}

/// Runs `sql` on database `runmesh` and returns the first column of its rows.
pub fn query(port: u16, sql: &str) -> Vec<String> {
    let mut stream = connect(port);
    let mut startup = 196_608_i32.to_be_bytes().to_vec();
    startup.extend_from_slice(b"user\0postgres\0database\0runmesh\0\0");
    send(&mut stream, &[], &startup);
    until_ready(&mut stream);
    send(&mut stream, b"Q", format!("{sql}\0").as_bytes());
    until_ready(&mut stream)
}

fn send(stream: &mut TcpStream, kind: &[u8], body: &[u8]) {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[kind, &length, body].concat()).unwrap();
}

fn until_ready(stream: &mut TcpStream) -> Vec<String> {
    let mut rows = Vec::new();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).unwrap();
        match head[0] {
            b'Z' => return rows,
            b'E' => panic!("postgres refused: {}", String::from_utf8_lossy(&body)),
            // Count of columns (2 bytes), length of the first (4 bytes), its text.
            b'D' => {
                let length = u32::from_be_bytes(body[2..6].try_into().unwrap());
                let end = 6 + usize::try_from(length).unwrap();
                rows.push(String::from_utf8(body[6..end].to_vec()).unwrap());
            }
            _ => {}
        }
    }
}

/// The INFO line of the NATS server.
pub fn nats_info(port: u16) -> serde_json::Value {
    let mut line = String::new();
    BufReader::new(connect(port)).read_line(&mut line).unwrap();
    serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap()
}

/// Asks `subject` and returns the JSON answer.
pub fn nats_request(port: u16, subject: &str, body: &str) -> serde_json::Value {
    let mut stream = connect(port);
    let publish = format!("PUB {subject} answer {}\r\n{body}\r\n", body.len());
    write!(stream, "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n{publish}").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line.starts_with("MSG answer")).unwrap();
    serde_json::from_str(&lines.next().unwrap()).unwrap()
}
