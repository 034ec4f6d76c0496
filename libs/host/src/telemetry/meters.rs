//! Metrics as Prometheus text. OpenTelemetry instruments of the whole process end up here.

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use super::TelemetryError;

/// The metrics of the process.
#[derive(Clone, Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// All metrics in the Prometheus text format.
    ///
    /// # Errors
    ///
    /// When two instruments contradict each other.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

pub(super) fn provider(resource: Resource) -> Result<(SdkMeterProvider, Metrics), TelemetryError> {
    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
    Ok((provider, Metrics(registry)))
}
