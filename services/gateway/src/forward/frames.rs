//! Follows the frames of a request: five bytes (flag and length), then a message. Keeps no message and copies none.

use runmesh_domain::Reason;
use runmesh_wire::status;
use tonic::Status;

use crate::edge;
use crate::methods::{Messages, Method};

const HEADER_BYTES: usize = 5;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A message says that it is compressed.
    Compressed,
    /// A message says something that nobody defined.
    Flag,
    /// A message is larger than the method allows.
    TooLarge { max: usize },
    /// A request of one message has another.
    Second,
    /// A request of one message has none.
    None,
    /// The request ended within a message.
    Cut,
}

impl Wrong {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Compressed => edge::compressed(),
            Self::Flag => status::plain(Reason::MalformedMessage, "a message begins with an unknown flag"),
            Self::TooLarge { max } => {
                status::plain(Reason::MessageTooLarge, &format!("a message of this method may have {max} bytes"))
            }
            Self::Second => status::plain(Reason::MalformedMessage, "this method takes one message"),
            Self::None => status::plain(Reason::MalformedMessage, "this method takes one message, and the request has none"),
            Self::Cut => status::plain(Reason::MalformedMessage, "the request ends within a message"),
        }
    }
}

/// Where in its frames a request is.
pub(super) struct Frames {
    max: usize,
    messages_left: Option<usize>,
    at: At,
}

enum At {
    Header { seen: [u8; HEADER_BYTES], count: usize },
    Message { left: usize },
}

const BETWEEN: At = At::Header { seen: [0; HEADER_BYTES], count: 0 };

impl Frames {
    /// Of a request of `method`.
    pub(super) fn new(method: &Method) -> Self {
        let messages_left = match method.messages {
            Messages::One => Some(1),
            Messages::Many => None,
        };
        Self { max: method.message_bytes_max, messages_left, at: BETWEEN }
    }

    /// Follows `chunk`, the next bytes of the request.
    pub(super) fn follow(&mut self, mut chunk: &[u8]) -> Result<(), Wrong> {
        while !chunk.is_empty() {
            let used = match &mut self.at {
                At::Header { seen, count } => {
                    let used = chunk.len().min(HEADER_BYTES - *count);
                    seen[*count..*count + used].copy_from_slice(&chunk[..used]);
                    *count += used;
                    if *count == HEADER_BYTES {
                        let header = *seen;
                        self.enter(header)?;
                    }
                    used
                }
                At::Message { left } => {
                    let used = chunk.len().min(*left);
                    *left -= used;
                    if *left == 0 {
                        self.at = BETWEEN;
                    }
                    used
                }
            };
            chunk = &chunk[used..];
        }
        Ok(())
    }

    /// The request ended here.
    pub(super) fn end(&self) -> Result<(), Wrong> {
        match self.at {
            At::Header { count: 0, .. } if self.messages_left == Some(1) => Err(Wrong::None),
            At::Header { count: 0, .. } => Ok(()),
            At::Header { .. } | At::Message { .. } => Err(Wrong::Cut),
        }
    }

    fn enter(&mut self, [flag, a, b, c, d]: [u8; HEADER_BYTES]) -> Result<(), Wrong> {
        match flag {
            0 => {}
            1 => return Err(Wrong::Compressed),
            _ => return Err(Wrong::Flag),
        }
        if let Some(left) = &mut self.messages_left {
            *left = left.checked_sub(1).ok_or(Wrong::Second)?;
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.max {
            return Err(Wrong::TooLarge { max: self.max });
        }
        self.at = if length == 0 { BETWEEN } else { At::Message { left: length } };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(max: usize, messages_left: Option<usize>) -> Frames {
        Frames { max, messages_left, at: BETWEEN }
    }

    fn message(flag: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![flag, 0, 0, 0, length];
        bytes.extend(std::iter::repeat_n(7, usize::from(length)));
        bytes
    }

    #[test]
    fn messages_pass_however_they_are_cut() {
        let bytes = [message(0, 3), message(0, 0), message(0, 9)].concat();
        for size in 1..=bytes.len() {
            let mut frames = frames(9, None);
            for chunk in bytes.chunks(size) {
                assert_eq!(frames.follow(chunk), Ok(()), "{size}");
            }
            assert_eq!(frames.end(), Ok(()), "{size}");
        }
    }

    #[test]
    fn what_is_wrong_is_seen_at_the_header() {
        for (bytes, wrong) in [
            (&message(1, 1)[..5], Wrong::Compressed),
            (&message(128, 1)[..5], Wrong::Flag),
            (&message(0, 10)[..5], Wrong::TooLarge { max: 9 }),
            (&[0, 255, 255, 255, 255][..], Wrong::TooLarge { max: 9 }),
        ] {
            assert_eq!(frames(9, None).follow(bytes), Err(wrong));
        }
    }

    #[test]
    fn a_unary_request_has_one_message_and_all_of_it() {
        let mut one = frames(9, Some(1));
        assert_eq!(one.end(), Err(Wrong::None));
        assert_eq!(one.follow(&message(0, 9)), Ok(()));
        assert_eq!(one.follow(&message(0, 0)), Err(Wrong::Second));

        let mut cut = frames(9, Some(1));
        assert_eq!(cut.follow(&message(0, 9)[..13]), Ok(()));
        assert_eq!(cut.end(), Err(Wrong::Cut));
    }
}
