//! `runmesh cancel`.

use super::context::Context;
use super::done::Done;
use super::names;
use crate::failure::Failure;
use clap::Args;
use runmesh_domain::id::RunId;
use runmesh_domain::run::StateName;

/// Options of `runmesh cancel`.
#[derive(Debug, Clone, Args)]
pub struct Cancel {
    /// The run.
    run: RunId,
}

impl Cancel {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let run = context.client.cancel_run(self.run).await?;
        if context.output.took("runmesh.run.v1.Run", &run)? {
            return Ok(Done::Well);
        }
        let state = names::state(run.state());
        let text = match state {
            Some(state) if state.is_terminal() => state.name().to_owned(),
            Some(state) => format!("cancel accepted; it is still {} and will end", StateName::name(state)),
            None => "cancel accepted".to_owned(),
        };
        context.output.line(&text)?;
        Ok(Done::Well)
    }
}
