//! Typed ids: a prefix that says what the thing is, and a UUID behind it.
//!
//! The text form is `<prefix>_<32 lowercase hex digits>`. It holds no character that means anything to a NATS subject, so
//! a parsed id may stand in one. This file never makes a random id; callers pass the UUID.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("want {prefix}_ and 32 lowercase hex digits")]
pub struct ParseIdError {
    /// The prefix that was wanted.
    pub prefix: &'static str,
}

fn parse(prefix: &'static str, text: &str) -> Result<Uuid, ParseIdError> {
    let hex = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let lowercase = |hex: &&str| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.filter(lowercase).and_then(|hex| Uuid::try_parse(hex).ok()).ok_or(ParseIdError { prefix })
}

/// A UUID that follows from bytes: version 8, the first 16 bytes of their SHA-256.
fn derived(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The id over a UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the id.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The id that follows from `parts`, the same for the same parts everywhere.
            #[must_use]
            pub fn derived(parts: &[&[u8]]) -> Self {
                Self(derived(parts))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse($prefix, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant.
    OrgId = "org";
    /// A person.
    UserId = "usr";
    /// An agent, over all its versions.
    AgentId = "agt";
    /// A conversation.
    ThreadId = "thr";
    /// A message of a conversation.
    MessageId = "msg";
    /// One turn of work.
    RunId = "run";
    /// One life of a worker process.
    SessionId = "ses";
    /// A question to a person.
    ActionId = "act";
}

impl UserId {
    /// The person that `issuer` calls `subject`.
    #[must_use]
    pub fn of_subject(issuer: &str, subject: &str) -> Self {
        Self::derived(&[b"user", issuer.as_bytes(), subject.as_bytes()])
    }
}

impl OrgId {
    /// The org that bears `name` where orgs are made from names: in development.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self::derived(&[b"org", name.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = RunId::of_bytes_for_test(7);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().starts_with("run_"));
    }

    #[test]
    fn refuses_other_prefixes_and_subject_characters() {
        let good = ThreadId::from_uuid(Uuid::from_u128(1)).to_string();
        assert!(good.parse::<ThreadId>().is_ok());
        assert!(good.parse::<RunId>().is_err());
        for bad in ["", "thr_", "thr_*", "thr_>", "thr_a.b", "thr_ 1", "thr_\n"] {
            assert!(bad.parse::<ThreadId>().is_err(), "{bad:?}");
        }
        assert!(good.to_uppercase().replace("THR", "thr").replace('1', "A").parse::<ThreadId>().is_err());
    }

    #[test]
    fn derived_ids_keep_parts_apart() {
        assert_eq!(UserId::of_subject("a", "b"), UserId::of_subject("a", "b"));
        assert_ne!(UserId::of_subject("a", "bc"), UserId::of_subject("ab", "c"));
    }

    impl RunId {
        fn of_bytes_for_test(n: u128) -> Self {
            Self::from_uuid(Uuid::from_u128(n))
        }
    }
}
