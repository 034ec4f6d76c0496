//! What the orchestrator does in transactions, as values: a command has its inputs and one function. Knows no protobuf and no
//! caller: who may have a command run is said where it is run.

pub mod agents;
pub mod orgs;
pub mod runs;
pub mod sessions;
pub mod sweeps;
pub mod threads;
