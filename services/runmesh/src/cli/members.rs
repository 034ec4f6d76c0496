//! `runmesh members`: list, put, remove.

use super::context::Context;
use super::done::Done;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::{Args, Subcommand, ValueEnum};
use runmesh_client::Paging;
use runmesh_client::pb::org::member;
use runmesh_domain::id::UserId;

/// Options of `runmesh members`.
#[derive(Debug, Clone, Args)]
pub struct Members {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// List the org's members (the default).
    List,
    /// Add a person to the org, or change their role.
    Put {
        /// The person's id, `usr_…`.
        user: UserId,
        /// What they may do.
        #[arg(long, value_enum, default_value_t = Role::Member)]
        role: Role,
    },
    /// Remove a person from the org.
    Remove {
        /// The person's id, `usr_…`.
        user: UserId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Reads, opens threads, sends.
    Member,
    /// And changes agents, members, the org, and other people's threads.
    Admin,
}

impl Members {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        match self.verb.unwrap_or(Verb::List) {
            Verb::List => list(context).await,
            Verb::Put { user, role } => {
                let role = match role {
                    Role::Member => member::Role::Member,
                    Role::Admin => member::Role::Admin,
                };
                let member = context.client.put_member(user, role).await?;
                if !context.output.took("runmesh.org.v1.Member", &member)? {
                    context.output.line(&format!("{user} is {} of the org", role_text(member.role())))?;
                }
                Ok(Done::Well)
            }
            Verb::Remove { user } => {
                context.client.remove_member(user).await?;
                if context.output.json {
                    context.output.value(&serde_json::json!({"outcome": "removed", "user_id": user.to_string()}))?;
                }
                context.say(&format!("removed {user}"))?;
                Ok(Done::Well)
            }
        }
    }
}

async fn list(context: &Context) -> Result<Done, Failure> {
    let members = context.client.list_members(Paging::first(1_000)).await?.items;
    if context.output.took_list("members", "runmesh.org.v1.Member", &members)? {
        return Ok(Done::Well);
    }
    let mut table = Table::new(&["USER", "ROLE", "JOINED"]);
    let now = when::now();
    for member in members {
        let (role, joined) = (role_text(member.role()).to_owned(), when::ago(member.create_time, now));
        table.row([member.user_id, role, joined]);
    }
    table.lines().iter().try_for_each(|line| context.output.line(line))?;
    Ok(Done::Well)
}

/// A role as people see it.
pub const fn role_text(role: member::Role) -> &'static str {
    match role {
        member::Role::Unspecified => "unknown",
        member::Role::Member => "member",
        member::Role::Admin => "admin",
    }
}
