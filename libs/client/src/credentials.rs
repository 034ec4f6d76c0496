//! The metadata that every call carries. Never logs a token.

use crate::error::ClientError;
use crate::options::Options;
use runmesh_wire::header;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Who calls, and on behalf of which org.
#[derive(Clone)]
pub struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    org: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    /// The credentials of `options`.
    ///
    /// # Errors
    /// [`ClientError::Credential`] for a text that cannot stand in a header.
    pub(crate) fn new(options: &Options) -> Result<Self, ClientError> {
        let value = |what: &'static str, text: String| text.parse().map_err(|_| ClientError::Credential { what });
        let mut authorization: Option<MetadataValue<Ascii>> =
            options.token.as_ref().map(|token| value("token", format!("Bearer {token}"))).transpose()?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let org = options.org.as_ref().map(|org| value("org", org.to_string())).transpose()?;
        Ok(Self { authorization, org })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        if let Some(org) = &self.org {
            metadata.insert(header::ORG, org.clone());
        }
        Ok(request)
    }
}
