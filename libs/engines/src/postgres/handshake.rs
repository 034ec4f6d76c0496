//! The start of a Postgres session, only to see whether the server takes one. Never sends a query.

use std::io::{self, ErrorKind};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::limits::GREETING_BYTES_MAX;

/// Protocol 3.0, which every supported server speaks.
const PROTOCOL: i32 = 196_608;
/// SQLSTATE cannot_connect_now: starting up, shutting down or replaying its journal.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// What the server made of the session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ready,
    StartingUp,
    /// Its error code and message.
    Refused(String),
}

/// Opens a session as `user` on `database` and closes it again.
pub(crate) async fn ask(port: u16, user: &str, database: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&startup_message(user, database)).await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_i32().await?;
        let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
        let body = body.filter(|length| *length <= GREETING_BYTES_MAX);
        let length = body.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no postgres server answers"))?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        match kind {
            b'Z' => {
                // Terminate; the answer is known already, so a failure to say goodbye changes nothing.
                let _ = stream.write_all(&[b'X', 0, 0, 0, 4]).await;
                return Ok(Answer::Ready);
            }
            b'E' => return Ok(refusal(&body)),
            b'R' if body != [0, 0, 0, 0] => {
                return Ok(Answer::Refused("asks for a password".to_owned()));
            }
            _ => {}
        }
    }
}

fn startup_message(user: &str, database: &str) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for word in ["user", user, "database", database, ""] {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [length.to_be_bytes().to_vec(), body].concat()
}

/// Fields of an error: a letter and a text each, ended by a zero byte.
fn refusal(body: &[u8]) -> Answer {
    let field = |letter: u8| {
        let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&letter));
        found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    let code = field(b'C');
    if code == CANNOT_CONNECT_NOW { Answer::StartingUp } else { Answer::Refused(format!("{code} {}", field(b'M'))) }
}

#[cfg(test)]
mod tests {
    use super::{Answer, refusal, startup_message};

    #[test]
    fn a_startup_message_counts_itself() {
        let message = startup_message("u", "d");
        assert_eq!(message[..4], [0, 0, 0, 27]);
        assert_eq!(message.len(), 27);
        assert!(message.ends_with(b"user\0u\0database\0d\0\0"));
    }

    #[test]
    fn errors_that_pass_differ_from_errors_that_stay() {
        let starting = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";
        assert_eq!(refusal(starting), Answer::StartingUp);
        let missing = b"SFATAL\0C3D000\0Mdatabase \"x\" does not exist\0\0";
        assert_eq!(refusal(missing), Answer::Refused("3D000 database \"x\" does not exist".to_owned()));
    }
}
