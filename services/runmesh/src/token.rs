//! `runmesh token`: a token of a person, for development: signed with the local key of `runmesh dev`.

use crate::cli::Done;
use crate::failure::Failure;
use clap::Args;
use runmesh_domain::id::UserId;
use runmesh_gateway::config::JwtConfig;
use runmesh_host::identity::LocalIssuer;
use runmesh_host::signed::MeshKey;
use std::path::PathBuf;
use std::time::Duration;

/// The issuer of development: the gateway of `dev` accepts its tokens and no other's.
pub const DEV_ISSUER: &str = "dev";
/// The audience of tokens of people.
const AUDIENCE: &str = "runmesh";
/// The claim that lists a person's orgs.
const ORG_CLAIM: &str = "orgs";

/// Options of `runmesh token`.
#[derive(Debug, Clone, Args)]
pub struct Token {
    /// The person, as the issuer names them.
    #[arg(default_value = "you")]
    subject: String,
    /// The orgs that the person acts in, by name or id.
    #[arg(long = "in", default_value = "dev", value_delimiter = ',')]
    orgs: Vec<String>,
    /// The key to sign with: `identity.key` in the data folder of `runmesh dev`.
    #[arg(long, env = "RUNMESH_IDENTITY_KEY_FILE")]
    key_file: PathBuf,
    /// How long the token is good, in seconds.
    #[arg(long, default_value_t = 24 * 3600)]
    ttl: u64,
    /// Print the person's id beside the token.
    #[arg(long)]
    show_id: bool,
}

impl Token {
    /// Prints the token.
    ///
    /// # Errors
    /// [`Failure`] when the key cannot be read.
    pub fn run(self) -> Result<Done, Failure> {
        let key = MeshKey::from_file(&self.key_file).map_err(|error| {
            Failure::config(format!("{}: {error}", self.key_file.display()))
                .with_hint("`runmesh dev` prints its data folder; the key is identity.key in it")
        })?;
        let token = issue(&key, &self.subject, &self.orgs, Duration::from_secs(self.ttl))?;
        if self.show_id {
            println!("{}", UserId::of_subject(DEV_ISSUER, &self.subject));
        }
        println!("{token}");
        Ok(Done::Well)
    }
}

/// A token of `subject` in `orgs`.
///
/// # Errors
/// [`Failure`] when it cannot be signed.
pub fn issue(key: &MeshKey, subject: &str, orgs: &[String], ttl: Duration) -> Result<String, Failure> {
    let issuer = LocalIssuer::new(key, DEV_ISSUER, AUDIENCE);
    let claims = [(ORG_CLAIM, serde_json::json!(orgs))];
    issuer.issue_with(subject, None, ttl, &claims).map_err(|error| Failure::config(error.to_string()))
}

/// What the gateway of `dev` is told of these tokens.
#[must_use]
pub fn dev_identity(key: MeshKey) -> JwtConfig {
    JwtConfig {
        issuer: DEV_ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        key: Some(key),
        key_file: None,
        jwks_file: None,
        jwks_url: None,
        org_claim: ORG_CLAIM.to_owned(),
        default_org: None,
    }
}
