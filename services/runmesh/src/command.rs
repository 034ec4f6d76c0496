//! The command line as a type: what there is to run, and where each goes. A new subcommand of the mesh is a variant here; one
//! that talks to a mesh is a variant of [`cli::Command`].

use crate::cli::{self, Done};
use crate::failure::Failure;
use crate::{bench, dev, migrate, mock_model, serve, token};
use clap::{Parser, Subcommand};

/// A mesh of services that runs AI agents durably.
#[derive(Debug, Parser)]
#[command(name = "runmesh", version)]
pub struct Arguments {
    #[command(flatten)]
    global: cli::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Cli(cli::Command),
    /// Run the whole mesh in this process, with a Postgres and a NATS of its own.
    Dev(dev::Dev),
    #[command(flatten)]
    Serve(serve::Service),
    /// Bring the database to the schema of this version. Services check it and never change it.
    Migrate(migrate::Migrate),
    /// Make a token of a person, for development.
    Token(token::Token),
    /// Run the mock model by itself.
    MockModel(mock_model::MockModel),
    /// Measure the mesh beside the raw limits of its engines, with processes and engines of its own.
    Bench(bench::Bench),
}

/// Runs what the command line says.
///
/// # Errors
/// [`Failure`], with the line to print and the exit code.
pub async fn run(arguments: Arguments) -> Result<Done, Failure> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Cli(command) => cli::run(global, command).await,
        Command::Dev(dev) => dev.run().await.map(|()| Done::Well),
        Command::Serve(service) => service.run().await.map(|()| Done::Well),
        Command::Migrate(migrate) => migrate.run().await,
        Command::Token(token) => token.run(),
        Command::MockModel(model) => model.run().await,
        Command::Bench(bench) => bench.run().await,
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
