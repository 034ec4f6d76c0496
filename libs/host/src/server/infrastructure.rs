//! The methods that everybody may call without credentials: health and reflection. Which they are, how long they may take, and how
//! many may be open at once, since strangers call them. Every other path is a method of the service.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::config::ServerConfig;
use crate::status::{self, OVERLOADED};

/// Bytes of a message to health: a service's name, far below it.
pub(crate) const HEALTH_MESSAGE_BYTES_MAX: usize = 1024;
/// Bytes of a message to reflection: a symbol's or a file's name, beside the host's.
pub(crate) const REFLECTION_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// How long any of them may take until its answer begins, its request being sent meanwhile.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a reflection stream may last: what it is asked is known within a second.
const REFLECTION_WITHIN: Duration = Duration::from_secs(60);

/// Checks that wait for the rest of their request, in the process.
const WAITING_CHECKS_MAX: usize = 2_048;

/// One of the methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Check,
    Watch,
    Reflection,
}

/// Which of them `path` is. Exact: a path that only begins like one is a stranger's own word.
pub(super) fn method(path: &str) -> Option<Method> {
    match path {
        "/grpc.health.v1.Health/Check" => Some(Method::Check),
        "/grpc.health.v1.Health/Watch" => Some(Method::Watch),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Some(Method::Reflection),
        _ => None,
    }
}

impl Method {
    /// How long a call may take. A watch lasts as long as its caller likes.
    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Self::Check => Some(ANSWER_WITHIN),
            Self::Watch => None,
            Self::Reflection => Some(REFLECTION_WITHIN),
        }
    }
}

/// The infrastructure calls that one connection may have open.
#[derive(Clone)]
pub(super) struct OfConnection(Arc<Semaphore>);

impl OfConnection {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self(room(config.max_open_health_per_connection))
    }
}

/// The infrastructure calls that the process may have open.
#[derive(Clone)]
pub(super) struct OfProcess {
    checks: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
    shed: Counter<u64>,
}

impl OfProcess {
    pub(super) fn new(config: &ServerConfig, shed: Counter<u64>) -> Self {
        let (watches, reflections) = (room(config.max_watches), room(config.max_reflections));
        Self { checks: room(WAITING_CHECKS_MAX), watches, reflections, shed }
    }

    /// A place in the process and on the connection, until it is dropped.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED when one of them is full.
    pub(super) fn enter(&self, method: Method, connection: Option<&OfConnection>) -> Result<Place, Status> {
        let all = match method {
            Method::Check => &self.checks,
            Method::Watch => &self.watches,
            Method::Reflection => &self.reflections,
        };
        let full = |message| {
            self.shed.add(1, &[]);
            status::with_reason(Code::ResourceExhausted, message, OVERLOADED)
        };
        let own = connection.map(|OfConnection(room)| Arc::clone(room).try_acquire_owned()).transpose();
        let own = own.map_err(|_| full("too many health and reflection calls are open on this connection; end some of them"))?;
        let all = Arc::clone(all).try_acquire_owned();
        let all = all.map_err(|_| full("too many health or reflection calls are open in this process; try again later"))?;
        Ok(Place { _all: all, _own: own })
    }
}

/// The place of an open call.
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

fn room(size: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS)))
}

/// What the caller of a refused infrastructure call is answered. The only way for these to fail with INTERNAL or OUT_OF_RANGE is a
/// request that does not decode, or is too large: both are the caller's doing.
pub(super) fn refusal(code: Code) -> Option<Status> {
    match code {
        Code::OutOfRange => {
            Some(status::with_reason(Code::InvalidArgument, "request is larger than the limit", status::MESSAGE_TOO_LARGE))
        }
        Code::Internal => {
            let message = "the request is not one whole message of this method";
            Some(status::with_reason(Code::InvalidArgument, message, status::MALFORMED_MESSAGE))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_infrastructure() {
        assert_eq!(method("/grpc.health.v1.Health/Check"), Some(Method::Check));
        for path in
            ["/grpc.health.v1.Health/Check/", "/grpc.health.v1.", "/grpc.reflection.v1.x/y", "/grpc.health.v1.Health/check"]
        {
            assert_eq!(method(path), None, "{path}");
        }
    }
}
