//! What services inside a mesh have in common at start: the shared key, the check of the hop's principal, reflection, and the
//! ways in which a start can fail. What the names are, the caller says.

use std::fmt::Display;
use std::path::Path;

use http::HeaderName;
use serde::de::DeserializeOwned;
use tonic::service::Routes;

use crate::health::Reporter;
use crate::reflection;
use crate::server::{Policy, Principal};
use crate::signed::{KeyError, MeshKey, Verifier};
use crate::upstream::UpstreamError;
use crate::{Server, ServerConfig};

/// Why a service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something it needs is not there, or is not what it must be.
    #[error("{0}")]
    Part(String),
    /// The key cannot be used.
    #[error("mesh key: {0}")]
    Key(#[from] KeyError),
    /// Neither `mesh_key` nor `mesh_key_file` is set.
    #[error("mesh key: set mesh_key or mesh_key_file")]
    NoKey,
    /// Addresses of other services are wrong.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// The descriptors do not decode.
    #[error("{0}")]
    Reflection(#[from] reflection::Error),
    /// A listener or a file cannot be used.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl StartError {
    /// Something the service needs is missing.
    pub fn part(error: impl Display) -> Self {
        Self::Part(error.to_string())
    }

    /// Whether the configuration is at fault, so that starting again does not help.
    #[must_use]
    pub fn is_config(&self) -> bool {
        match self {
            Self::Key(_) | Self::NoKey | Self::Upstream(_) => true,
            Self::Part(_) | Self::Reflection(_) | Self::Io(_) => false,
        }
    }
}

/// The mesh's key: as given, or from its file.
///
/// # Errors
///
/// [`StartError::NoKey`], [`StartError::Key`].
pub fn mesh_key(given: Option<&MeshKey>, file: Option<&Path>) -> Result<MeshKey, StartError> {
    match (given, file) {
        (Some(key), _) => Ok(key.clone()),
        (None, Some(file)) => Ok(MeshKey::from_file(file)?),
        (None, None) => Err(StartError::NoKey),
    }
}

/// How services of a mesh know who calls.
#[derive(Clone, Copy, Debug)]
pub struct Hops {
    /// The header with the signed principal.
    pub header: &'static str,
    /// The type of that token.
    pub typ: &'static str,
    /// Its audience.
    pub audience: &'static str,
}

/// A server for `routes` that lets in only calls with a principal `T` signed with `key`; with reflection over `descriptors` when
/// there are some.
///
/// # Errors
///
/// [`StartError::Reflection`].
pub fn server<T>(
    config: ServerConfig,
    policy: Policy,
    (hops, key): (Hops, &MeshKey),
    (routes, descriptors): (Routes, Option<&[u8]>),
    health: &Reporter,
) -> Result<(Server, Routes), StartError>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let verifier = Verifier::new(key, hops.typ, hops.audience);
    let guard = Principal::<T>::new(HeaderName::from_static(hops.header), verifier);
    let routes = match descriptors {
        Some(descriptors) => reflection::routes(routes, &[descriptors])?,
        None => routes,
    };
    Ok((Server::builder(config).policy(policy).guard(guard).health(health.clone()), routes))
}
