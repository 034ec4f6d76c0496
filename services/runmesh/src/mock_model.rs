//! `runmesh mock-model`: the mock model by itself, for meshes of several processes.

use crate::cli::Done;
use crate::failure::Failure;
use crate::serve::bind;
use clap::Args;
use runmesh_host::Lifecycle;

/// Options of `runmesh mock-model`.
#[derive(Debug, Clone, Args)]
pub struct MockModel {
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1:7439")]
    listen: String,
}

impl MockModel {
    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// [`Failure`] when the address cannot be used.
    pub async fn run(self) -> Result<Done, Failure> {
        let life = Lifecycle::new();
        life.handle_signals().map_err(|error| Failure::unavailable(format!("signals: {error}")))?;
        let listener = bind(&self.listen).await?;
        println!("mock model: http://{}/v1", self.listen);
        let soft = life.soft().clone();
        let served = runmesh_mock_model::serve(listener, async move { soft.cancelled().await }).await;
        served.map(|()| Done::Well).map_err(|error| Failure::fault(error.to_string()))
    }
}
