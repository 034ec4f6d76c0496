//! What a caller may set when connecting.

use crate::bounds;
use runmesh_domain::id::OrgId;
use std::fmt;
use std::time::Duration;

/// How to connect. The default is right for `runmesh dev` on the same machine.
#[derive(Clone)]
pub struct Options {
    /// The bearer token; none in development on loopback. Never printed.
    pub token: Option<String>,
    /// The org meant, for people who belong to several.
    pub org: Option<Org>,
    /// How long one unary call may take, its retries included. Default 10 s.
    pub deadline: Duration,
    /// How long a [`crate::Follow`] goes on trying without hearing anything. Default 60 s.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { token: None, org: None, deadline: bounds::DEADLINE, patience: bounds::PATIENCE }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, org, deadline, patience } = self;
        let token = if token.is_some() { "set" } else { "none" };
        f.debug_struct("Options")
            .field("token", &token)
            .field("org", org)
            .field("deadline", deadline)
            .field("patience", patience)
            .finish()
    }
}

/// An org, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Org {
    /// By id.
    Id(OrgId),
    /// By name.
    Name(String),
}

impl From<OrgId> for Org {
    fn from(id: OrgId) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for Org {
    /// An id when it reads as one, else a name.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

impl fmt::Display for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let options = Options { token: Some("hunter2".into()), ..Options::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn an_org_is_an_id_or_a_name() {
        let id = OrgId::of_name("x");
        assert_eq!(Org::from(id.to_string().as_str()), Org::Id(id));
        assert_eq!(Org::from("acme"), Org::Name("acme".into()));
    }
}
