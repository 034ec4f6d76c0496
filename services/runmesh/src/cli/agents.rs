//! `runmesh agents`: list, get, apply, delete.

mod file;
mod span;

use super::context::Context;
use super::done::Done;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::{Args, Subcommand};
use runmesh_client::pb::agent::Agent;
use runmesh_client::{Applied, Paging};
use runmesh_wire::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Agents of one page: as many as there can be on one.
const PAGE: u32 = 1_000;

/// Options of `runmesh agents`.
#[derive(Debug, Clone, Args)]
pub struct Agents {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// List the org's agents (the default).
    List,
    /// Show an agent as JSON.
    Get {
        /// Its name or id.
        name: String,
    },
    /// Create an agent or give it a new version, from a file.
    Apply {
        /// The definition, YAML; `-` for standard input.
        #[arg(short, long)]
        file: PathBuf,
    },
    /// Delete an agent; its threads stay readable.
    Delete {
        /// Its name or id.
        name: String,
    },
}

impl Agents {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        match self.verb.unwrap_or(Verb::List) {
            Verb::List => list(context).await,
            Verb::Get { name } => {
                let agent = context.client.get_agent(&name).await?;
                let value = json::of("runmesh.agent.v1.Agent", &agent);
                let text = if context.output.json { value.to_string() } else { format!("{value:#}") };
                context.output.line(&text)?;
                Ok(Done::Well)
            }
            Verb::Apply { file } => apply(context, &file).await,
            Verb::Delete { name } => {
                context.client.delete_agent(&name).await?;
                context.say(&format!("deleted {name}"))?;
                Ok(Done::Well)
            }
        }
    }
}

/// Every agent of the org, however many pages that is.
async fn all(context: &Context) -> Result<Vec<Agent>, Failure> {
    let (mut agents, mut paging) = (Vec::new(), Some(Paging::first(PAGE)));
    while let Some(wanted) = paging {
        let page = context.client.list_agents(wanted).await?;
        paging = page.following(PAGE);
        agents.extend(page.items);
    }
    Ok(agents)
}

async fn list(context: &Context) -> Result<Done, Failure> {
    let agents = all(context).await?;
    if context.output.took_list("agents", "runmesh.agent.v1.Agent", &agents)? {
        return Ok(Done::Well);
    }
    let mut table = Table::new(&["NAME", "VERSION", "MODEL", "TOOLS", "CHANGED", "ID"]);
    let now = when::now();
    for agent in agents {
        let spec = agent.spec.unwrap_or_default();
        let model = if spec.model.is_empty() { "(the mesh's)".to_owned() } else { spec.model };
        let tools = spec.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(",");
        let changed = when::ago(agent.update_time, now);
        table.row([agent.name, agent.version.to_string(), model, tools, changed, agent.agent_id]);
    }
    if table.is_empty() {
        context.output.line("no agents; runmesh agents apply -f agent.yaml makes one")?;
        return Ok(Done::Well);
    }
    table.lines().iter().try_for_each(|line| context.output.line(line))?;
    Ok(Done::Well)
}

async fn apply(context: &Context, path: &Path) -> Result<Done, Failure> {
    let text = read(path).map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?;
    let (name, spec) = file::parse(&text).map_err(|problem| Failure::refused(format!("{}: {problem}", path.display())))?;
    let applied = context.client.apply_agent(&name, spec).await?;
    let (outcome, agent) = match applied {
        Applied::Created(agent) => ("created", agent),
        Applied::Updated(agent) => ("updated", agent),
        Applied::Unchanged(agent) => ("unchanged", agent),
    };
    if context.output.json {
        let agent = json::of("runmesh.agent.v1.Agent", &agent);
        context.output.value(&serde_json::json!({"outcome": outcome, "agent": agent}))?;
        return Ok(Done::Well);
    }
    context.output.line(&sentence(outcome, &agent))?;
    Ok(Done::Well)
}

fn sentence(outcome: &str, agent: &Agent) -> String {
    match outcome {
        "updated" => format!("{} updated to version {}", agent.name, agent.version),
        "unchanged" => format!("{} unchanged at version {}", agent.name, agent.version),
        _ => format!("{} created ({})", agent.name, agent.agent_id),
    }
}

/// More than any definition that would be accepted.
const FILE_BYTES_MAX: u64 = 16 << 20;

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}
