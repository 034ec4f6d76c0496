//! The one binary: a service, the whole mesh in one process, or the command line. Parses, runs, and says how it went; what
//! is done is in the modules.

mod bench;
mod cli;
mod command;
mod dev;
mod failure;
mod migrate;
mod mock_model;
mod serve;
mod token;

use clap::Parser as _;
use command::Arguments;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One TLS provider for everything that dials out; a second would make rustls panic at the first connection.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return failed(&Failure::fault("another TLS provider is installed"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Failure::unavailable(format!("cannot start a runtime: {error}"))),
    };
    let ended = runtime.block_on(command::run(arguments));
    // A thread that waits for a line of standard input must not keep the process alive.
    runtime.shutdown_background();
    ended.map_or_else(|failure| failed(&failure), |done| ExitCode::from(done.code()))
}

/// One plain line, and what to try.
fn failed(failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        eprintln!("error: {}", failure.message);
    }
    if let Some(hint) = &failure.hint {
        eprintln!("try: {hint}");
    }
    ExitCode::from(failure.code)
}
