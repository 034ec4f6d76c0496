//! A key that is written either into the configuration or into a file beside it. Never both, and never shown.

use std::path::Path;

use runmesh_host::signed::MeshKey;

use crate::serve::ServeError;

/// The key named `name`: `given`, or what is in `file`.
pub(crate) fn secret(name: &str, given: Option<&MeshKey>, file: Option<&Path>) -> Result<MeshKey, ServeError> {
    match (given, file) {
        (Some(key), None) => Ok(key.clone()),
        (None, Some(file)) => {
            MeshKey::from_file(file).map_err(|error| ServeError::Config(format!("{name}_file {}: {error}", file.display())))
        }
        (None, None) => Err(ServeError::Config(format!("neither {name} nor {name}_file is set"))),
        (Some(_), Some(_)) => Err(ServeError::Config(format!("both {name} and {name}_file are set"))),
    }
}
