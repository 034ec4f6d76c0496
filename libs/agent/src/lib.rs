//! The agent: the loop that drives runs, the model provider, the tools, and the worker that claims runs for the loop.
//!
//! It reaches the mesh by gRPC alone, exactly as an external worker does, and knows neither Postgres nor NATS. What it
//! writes is guarded by the fence of its lease; nothing here is trusted for safety, only for progress.

mod appender;
mod backoff;
mod control;
pub mod history;
mod mesh;
pub mod model;
mod run;
mod session;
pub mod tools;
mod trace;

pub use mesh::{Channels, Credentials};
pub use model::{ModelConfig, Provider};
pub use session::{Hints, Worker, WorkerConfig, WorkerError};
pub use tools::{Toolbox, ToolsConfig};
