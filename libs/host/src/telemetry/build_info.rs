//! Which build this is, as a metric and for `/version`.

use opentelemetry::KeyValue;
use serde::Serialize;

use crate::metrics;

/// Name and version of the running service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    /// The service.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl BuildInfo {
    /// Reports the gauge `build_info`, always 1.
    pub(super) fn report(&self) {
        let labels = [KeyValue::new("service", self.service), KeyValue::new("version", self.version)];
        let meter = opentelemetry::global::meter("runmesh-host");
        meter.u64_gauge(metrics::BUILD_INFO).build().record(1, &labels);
    }
}
