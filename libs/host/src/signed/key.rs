//! The key the mesh shares. A secret type: it has no `Display`, and `Debug` shows nothing of it.

use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Deserializer};

/// Shortest key accepted: as long as the output of the hash (RFC 7518, section 3.2).
const KEY_BYTES_MIN: usize = 32;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not an even number of hexadecimal digits.
    #[error("key is not hexadecimal")]
    NotHex,
    /// Fewer than 32 bytes.
    #[error("key has {0} bytes, at least 32 are needed")]
    TooShort(usize),
    /// The file, or the system's source of randomness, could not be read.
    #[error("key could not be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A shared symmetric key of at least 32 bytes.
#[derive(Clone, Debug)]
pub struct MeshKey(SecretSlice<u8>);

impl MeshKey {
    /// The key from hexadecimal digits; white space around them is ignored.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotHex`], [`KeyError::TooShort`].
    pub fn from_hex(digits: &str) -> Result<Self, KeyError> {
        let digits = digits.trim().as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err(KeyError::NotHex);
        }
        let bytes: Option<Vec<u8>> = digits.chunks_exact(2).map(byte).collect();
        Self::from_bytes(bytes.ok_or(KeyError::NotHex)?)
    }

    /// The key from a file of hexadecimal digits, as a mounted secret is.
    ///
    /// # Errors
    ///
    /// As [`MeshKey::from_hex`], and [`KeyError::Io`].
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        Self::from_hex(&std::fs::read_to_string(path)?)
    }

    /// A fresh key from the system's randomness.
    ///
    /// # Errors
    ///
    /// [`KeyError::Io`] when there is none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = vec![0; KEY_BYTES_MIN];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Self::from_bytes(bytes)
    }

    /// The key as hexadecimal digits, to write into a private file. The one way out, named so that a reader stops at it.
    #[must_use]
    pub fn expose_hex(&self) -> String {
        self.expose().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, KeyError> {
        if bytes.len() < KEY_BYTES_MIN {
            return Err(KeyError::TooShort(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }
}

impl<'de> Deserialize<'de> for MeshKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_hex(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn byte(pair: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}
