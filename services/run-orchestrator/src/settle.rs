//! A COMMIT whose answer was lost. Whether it was done, only the database knows: so it is asked.

use crate::mesh::Mesh;
use runmesh_domain::id::OrgId;
use runmesh_domain::{Error, Fault, Result};

impl Mesh {
    /// Runs a transaction whose exact repeat is answered as the first, and runs it again when nobody knows whether it committed:
    /// either it finds what the first one did, or it does it. Once: a server that is gone is gone the second time, too.
    ///
    /// What the first one committed was told to nobody. The sweeper publishes it; runs that it made READY are looked for here.
    pub async fn settle<T, F>(&self, org: Option<OrgId>, transact: impl Fn(Try) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let unknown = match transact(Try::First).await {
            Err(error @ Error::Fault(Fault::OutcomeUnknown { .. })) => error,
            known => return known,
        };
        tracing::warn!(error = %unknown, "a commit was not answered: read back what it did");
        let answer = transact(Try::Again).await;
        self.ready.work();
        if let Some(org) = org {
            self.bus.wake(org);
        }
        match answer {
            // Nobody knows what became of the first one: it is not as if nothing had been done.
            Err(Error::Fault(_)) => Err(unknown),
            answer => answer,
        }
    }
}

/// Which try of a transaction this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// The first.
    First,
    /// The one that reads back what the first did.
    Again,
}
