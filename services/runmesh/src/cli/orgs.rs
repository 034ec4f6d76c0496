//! `runmesh orgs`: list, create, update, delete.

use super::context::Context;
use super::done::Done;
use super::members;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::{Args, Subcommand};
use runmesh_client::Paging;
use runmesh_client::pb::org::{Org, OrgLimits};

/// Options of `runmesh orgs`.
#[derive(Debug, Clone, Args)]
pub struct Orgs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// List the orgs that you are a member of (the default).
    List,
    /// Make an org and become its first admin, where the mesh lets you.
    Create {
        /// Its name, for good: a-z, 0-9 and `-`.
        name: String,
        /// What people call it.
        #[arg(long, default_value = "")]
        display_name: String,
    },
    /// Change an org's display name or limits.
    Update {
        /// Its name; the org of the command line when left out.
        name: Option<String>,
        /// What people call it.
        #[arg(long)]
        display_name: Option<String>,
        /// Runs of one person that run at once, or `default` for the mesh's.
        #[arg(long, value_parser = limit)]
        user_limit: Option<Limit>,
        /// Runs of the org that run at once, or `default` for the mesh's.
        #[arg(long, value_parser = limit)]
        org_limit: Option<Limit>,
    },
    /// Delete an org and all that is in it, for good. Nothing may be running or queued in it.
    Delete {
        /// Its name.
        name: String,
    },
}

/// A limit as a person types it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Own(i32),
    TheMeshs,
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "default" {
        return Ok(Limit::TheMeshs);
    }
    text.parse().map(Limit::Own).map_err(|_| "want a number, or `default`".to_owned())
}

impl Orgs {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        match self.verb.unwrap_or(Verb::List) {
            Verb::List => list(context).await,
            Verb::Create { name, display_name } => {
                let org = context.client.create_org(&name, &display_name).await?;
                show(context, "created", &org)
            }
            Verb::Update { name, display_name, user_limit, org_limit } => {
                let client = name.as_deref().map_or_else(|| Ok(context.client.clone()), |name| context.in_org(name))?;
                let limits = if user_limit.is_some() || org_limit.is_some() {
                    let now = client.get_org().await?.org.and_then(|org| org.limits).unwrap_or_default();
                    Some(changed(now, user_limit, org_limit))
                } else {
                    None
                };
                show(context, "updated", &client.update_org(display_name, limits).await?)
            }
            Verb::Delete { name } => {
                context.in_org(&name)?.delete_org().await?;
                if context.output.json {
                    context.output.value(&serde_json::json!({"outcome": "deleted", "name": name}))?;
                }
                context.say(&format!("deleted {name}"))?;
                Ok(Done::Well)
            }
        }
    }
}

fn changed(now: OrgLimits, user: Option<Limit>, org: Option<Limit>) -> OrgLimits {
    let one = |now: Option<i32>, wanted: Option<Limit>| match wanted {
        None => now,
        Some(Limit::Own(limit)) => Some(limit),
        Some(Limit::TheMeshs) => None,
    };
    OrgLimits {
        running_per_user_max: one(now.running_per_user_max, user),
        running_per_org_max: one(now.running_per_org_max, org),
    }
}

fn show(context: &Context, outcome: &str, org: &Org) -> Result<Done, Failure> {
    if context.output.json {
        let org = runmesh_wire::json::of("runmesh.org.v1.Org", org);
        context.output.value(&serde_json::json!({"outcome": outcome, "org": org}))?;
    }
    context.say(&format!("{outcome} {} ({})", org.name, org.org_id))?;
    Ok(Done::Well)
}

async fn list(context: &Context) -> Result<Done, Failure> {
    let memberships = context.client.list_orgs(Paging::first(1_000)).await?.items;
    if context.output.took_list("memberships", "runmesh.org.v1.Membership", &memberships)? {
        return Ok(Done::Well);
    }
    let mut table = Table::new(&["NAME", "DISPLAY NAME", "YOU", "USER LIMIT", "ORG LIMIT", "MADE", "ID"]);
    let now = when::now();
    for place in memberships {
        let (org, role) = (place.org.unwrap_or_default(), place.member.map_or("-", |member| members::role_text(member.role())));
        let limits = org.limits.unwrap_or_default();
        let limit = |limit: Option<i32>| limit.map_or_else(|| "default".to_owned(), |limit| limit.to_string());
        let (of_user, of_org) = (limit(limits.running_per_user_max), limit(limits.running_per_org_max));
        let made = when::ago(org.create_time, now);
        table.row([org.name, org.display_name, role.to_owned(), of_user, of_org, made, org.org_id]);
    }
    if table.is_empty() {
        context
            .output
            .line("no orgs; an admin of one adds you, or runmesh orgs create NAME makes one where the mesh lets you")?;
        return Ok(Done::Well);
    }
    table.lines().iter().try_for_each(|line| context.output.line(line))?;
    Ok(Done::Well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_limits_that_are_named_change() {
        let limits = |of_user, of_org| OrgLimits { running_per_user_max: of_user, running_per_org_max: of_org };
        let now = limits(Some(3), Some(4));
        assert_eq!(changed(now, None, limit("9").ok()), limits(Some(3), Some(9)));
        assert_eq!(changed(now, limit("default").ok(), None), limits(None, Some(4)));
        assert!(limit("many").is_err_and(|problem| problem.contains("default")));
    }
}
