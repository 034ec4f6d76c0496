//! What every command has: the connection, and how to print.

use super::output::Output;
use super::style::Style;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::{Client, Options};

const ADDRESS: &str = "http://127.0.0.1:7420";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The gateway.
    #[arg(long, global = true, env = "RUNMESH_ADDRESS", default_value = ADDRESS)]
    address: String,
    /// The bearer token.
    #[arg(long, global = true, env = "RUNMESH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The org meant, by name or id, for people of several.
    #[arg(long, global = true, env = "RUNMESH_ORG")]
    org: Option<String>,
    /// Print JSON: one object, or one per line for streams.
    #[arg(long, global = true)]
    json: bool,
}

/// What every command has.
pub struct Context {
    /// The connection.
    pub client: Client,
    /// Standard output.
    pub output: Output,
    /// Colours.
    pub style: Style,
    /// What a command needs on its line to reach the same mesh; begins with a space unless empty.
    pub flags: String,
    address: String,
    token: Option<String>,
}

impl Context {
    /// Connects lazily: a mesh that is away shows at the first call.
    pub fn new(global: Global) -> Result<Self, Failure> {
        let Global { address, token, org, json } = global;
        let mut flags = String::new();
        if address != ADDRESS {
            flags.push_str(&format!(" --address {address}"));
        }
        if let Some(org) = &org {
            flags.push_str(&format!(" --org {org}"));
        }
        let options = Options { token: token.clone(), org: org.as_deref().map(Into::into), ..Options::default() };
        let client = Client::connect(&address, options)?;
        Ok(Self { client, output: Output { json }, style: Style::of_stdout(), flags, address, token })
    }

    /// The same caller in the org `name`, whichever one the command line names.
    pub fn in_org(&self, name: &str) -> Result<Client, Failure> {
        let options = Options { token: self.token.clone(), org: Some(name.into()), ..Options::default() };
        Ok(Client::connect(&self.address, options)?)
    }

    /// Words for a person: nothing of it when JSON is wanted.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        if !self.output.json {
            self.output.line(text)?;
        }
        Ok(())
    }
}
