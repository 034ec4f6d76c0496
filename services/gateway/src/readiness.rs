//! What health says: the gateway itself serves once it can tell who calls; a service serves while anybody behind answers.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use runmesh_host::Lifecycle;
use runmesh_host::health::Reporter;

use crate::identity::Identities;
use crate::methods;
use crate::upstreams::Upstreams;

/// Time between looks, which read memory only; the pickers themselves learn of a failure at once.
const PERIOD: Duration = Duration::from_millis(100);

/// Says what is known now and keeps saying it until the drain.
pub(crate) fn report(health: Reporter, upstreams: Arc<Upstreams>, identities: Arc<Identities>, lifecycle: &Lifecycle) {
    let look = move || {
        for &(service, upstream) in methods::services() {
            health.set(service, upstreams.is_ready(upstream));
        }
        health.set("", identities.is_ready());
    };
    look();
    lifecycle.spawn_loop("gateway-readiness", PERIOD, move || {
        look();
        std::future::ready(Ok::<(), Infallible>(()))
    });
}

/// The names of the public services, for a health reporter.
#[must_use]
pub fn services() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| methods::services().iter().map(|(name, _)| *name).collect());
    &NAMES
}
