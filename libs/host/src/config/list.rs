//! Lists in configuration: an array in a file, commas in the environment. Use as
//! `#[serde(deserialize_with = "runmesh_host::config::list::deserialize")]`.

use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Many(Vec<String>),
    One(String),
}

/// Reads a list of texts; blanks around each are dropped, empty ones too.
///
/// # Errors
///
/// When the value is neither a list nor a text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let all = match Written::deserialize(deserializer)? {
        Written::Many(all) => all,
        Written::One(text) => text.split(',').map(str::to_owned).collect(),
    };
    Ok(all.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect())
}
