//! How a command ended, and how an error of the client becomes a failure of the command.

use crate::failure::Failure;
use runmesh_client::ClientError;
use std::io;
use tonic::Code;

/// Nobody is there to serve, as in sysexits.h.
const UNAVAILABLE: u8 = 69;
/// As shells report an end by SIGINT.
const DETACHED: u8 = 130;

/// A command that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All is well: exit code 0.
    Well,
    /// What it looked at did not go well: exit code 1.
    Badly,
    /// The person left before its end: exit code 130.
    Detached,
}

impl Done {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Badly => 1,
            Self::Detached => DETACHED,
        }
    }

    /// Well when `it_is`.
    pub const fn well_if(it_is: bool) -> Self {
        if it_is { Self::Well } else { Self::Badly }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = super::printable::line(&error.to_string());
        let code = match error.code() {
            Code::Unavailable | Code::DeadlineExceeded => UNAVAILABLE,
            _ => 1,
        };
        Self { message, hint: error.hint(), code }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // The reader of a pipe that has seen enough is no failure.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { message: String::new(), hint: None, code: 0 };
        }
        Self::refused(format!("cannot write: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_mesh_and_a_refusal_have_their_own_codes() {
        let away = ClientError::Unreachable { address: "http://x".into(), detail: "refused".into() };
        let failure = Failure::from(away);
        assert_eq!(failure.code, 69);
        assert!(failure.hint.is_some());
        let wrong = ClientError::Address { address: "x".into(), problem: "p".into() };
        assert_eq!(Failure::from(wrong).code, 1);
    }
}
