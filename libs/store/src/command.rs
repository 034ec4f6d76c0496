//! Work on the database as a value: what it needs, and one function over a transaction.

use crate::tx::Tx;
use futures::future::BoxFuture;
use runmesh_domain::Result;
use std::marker::PhantomData;
use std::sync::Arc;

/// Work in one transaction. Its fields are its inputs; [`Db::run`](crate::Db::run) begins and commits the transaction.
///
/// A command has no effect but through its transaction: what follows the commit is part of its answer. Commands compose: one
/// may run others on the same transaction, and then all of them commit together or none does.
pub trait Command: Send + Sync + 'static {
    /// What the command gives. It is worth nothing until the transaction has committed.
    type Answer: Send + 'static;

    /// What the command is called in logs and at fail points: the name of its type. A command around another one has the name
    /// of the one inside.
    #[must_use]
    fn name() -> &'static str {
        let path = std::any::type_name::<Self>();
        let path = path.split('<').next().unwrap_or(path);
        path.rsplit("::").next().unwrap_or(path)
    }

    /// Does the work. Up to three calls may be made on the same value, each in a transaction of its own, of which at most one
    /// commits.
    ///
    /// # Errors
    /// What the command refuses, and faults. The transaction is then rolled back.
    fn run(&self, tx: &mut Tx) -> impl Future<Output = Result<Self::Answer>> + Send;
}

/// A command that is kept, to be run again or read afterwards.
impl<C: Command> Command for Arc<C> {
    type Answer = C::Answer;

    fn name() -> &'static str {
        C::name()
    }

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        C::run(self, tx).await
    }
}

/// A closure as a command, for [`Db::tx`](crate::Db::tx).
pub(crate) struct Closure<F, T> {
    work: F,
    answer: PhantomData<fn() -> T>,
}

impl<F, T> Closure<F, T> {
    pub(crate) const fn new(work: F) -> Self {
        Self { work, answer: PhantomData }
    }
}

impl<F, T> Command for Closure<F, T>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
{
    type Answer = T;

    async fn run(&self, tx: &mut Tx) -> Result<T> {
        (self.work)(tx).await
    }
}
