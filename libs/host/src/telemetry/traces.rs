//! Where spans go: to the OTLP endpoint of the environment, or nowhere. Ids exist either way, so that logs of all hops of a
//! request can be found by one trace id.

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use super::TelemetryError;

/// The standard variables that switch the exporter on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

pub(super) fn provider(resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource);
    if !ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        // Ids only: a caller's decision to sample is passed on, nothing is recorded for its own sake.
        return Ok(builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff))).build());
    }
    let exporter = SpanExporter::builder().with_tonic().build().map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    // The sampler is the environment's (`OTEL_TRACES_SAMPLER`), by default everything a caller did not exclude.
    Ok(builder.with_batch_exporter(exporter).build())
}
