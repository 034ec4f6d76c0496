//! Reads a service's configuration: one section of a TOML or YAML file, then the environment over it. Everything is checked
//! before anything is bound; a key nobody knows is an error that names it.

pub mod duration;
pub mod list;

use std::collections::HashMap;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Prefix of every environment variable read here.
pub const ENV_PREFIX: &str = "RUNMESH";

/// Why a configuration was refused. The text names the key and where it came from; it never shows a value of the environment.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or does not parse.
    #[error("configuration file {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the parser said.
        cause: String,
    },
    /// A key is unknown, missing, or has a value that does not fit.
    #[error("configuration of {service}: {cause}")]
    Value {
        /// The service.
        service: String,
        /// The key and what is wrong with it.
        cause: String,
    },
}

/// The configuration of `service` (such as `run-orchestrator`): its section `[run-orchestrator]` of `file`, if a file is given,
/// overlaid by the environment. `RUNMESH_RUN_ORCHESTRATOR__SERVER__MAX_STREAMS=5` sets `server.max_streams`: two underscores
/// nest. `T` and the structs in it carry `#[serde(deny_unknown_fields)]`; that is what refuses a misspelt key.
///
/// # Errors
///
/// [`ConfigError`]; the caller prints it and exits with [`exit::CONFIG`](crate::exit::CONFIG).
pub fn load<T: DeserializeOwned>(service: &str, file: Option<&Path>) -> Result<T, ConfigError> {
    load_from(service, file, None)
}

/// As [`load`], with the environment given by the caller (`None`: the process's own). For tests and for embedding.
///
/// # Errors
///
/// As [`load`].
pub fn load_from<T: DeserializeOwned>(
    service: &str,
    file: Option<&Path>,
    environment: Option<HashMap<String, String>>,
) -> Result<T, ConfigError> {
    let refused = |error: config::ConfigError| ConfigError::Value { service: service.to_owned(), cause: error.to_string() };
    let mut section = config::Config::builder();
    if let Some(path) = file {
        section = section.add_source(read_section(service, path)?);
    }
    let prefix = format!("{ENV_PREFIX}_{}", service.replace('-', "_").to_uppercase());
    let environment = config::Environment::with_prefix(&prefix)
        .prefix_separator("__")
        .separator("__")
        .source(environment.map(|all| all.into_iter().collect()));
    section.add_source(environment).build().and_then(config::Config::try_deserialize).map_err(refused)
}

/// The table `service` of the file. A file without it configures other services and leaves this one its defaults.
fn read_section(service: &str, path: &Path) -> Result<config::Config, ConfigError> {
    let refused = |error: config::ConfigError| ConfigError::File { path: path.display().to_string(), cause: error.to_string() };
    let whole = config::Config::builder().add_source(config::File::from(path)).build().map_err(refused)?;
    let table = match whole.get_table(service) {
        Ok(table) => table,
        Err(config::ConfigError::NotFound(_)) => config::Map::new(),
        Err(error) => return Err(refused(error)),
    };
    let mut section = config::Config::builder();
    for (key, value) in table {
        section = section.set_override(quote(&key), value).map_err(refused)?;
    }
    section.build().map_err(refused)
}

/// Keys are paths to the library below; ours are plain words, so only those pass as they are.
fn quote(key: &str) -> String {
    key.replace('.', "_")
}
