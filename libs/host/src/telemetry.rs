//! Logs, traces and metrics of a process, set up once at its start. Traces leave the process only when the standard `OTEL_*`
//! environment names an endpoint; metrics wait on the admin port to be fetched.

mod build_info;
mod json;
mod logs;
mod meters;
mod traces;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;

pub use build_info::BuildInfo;
pub use meters::Metrics;

/// Target of spans that log lines show and traces do not: those that last as long as a process, whose work is many requests
/// and not one.
pub(crate) const LOG_ONLY: &str = "runmesh_host::log_only";

/// Longest wait for the last spans to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text, coloured on a terminal unless `NO_COLOR` is set.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// What telemetry is told.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// `service.name` and the name in `build_info`.
    pub service_name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// The form of log lines, which go to standard error. What is logged is `RUST_LOG`'s business; default `info`.
    pub log: LogFormat,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` does not parse.
    #[error("RUST_LOG: {0}")]
    Filter(String),
    /// Something else has set up logging in this process.
    #[error("logging is already set up")]
    Twice,
    /// The exporter named by the environment cannot be built.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Exporter(String),
    /// The metrics reader cannot be registered.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// What has to be shut down at the end of the process.
#[derive(Debug)]
#[must_use = "spans are lost unless it is shut down"]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
    metrics: Metrics,
    build: BuildInfo,
}

impl Telemetry {
    /// The metrics of the process, for the admin port.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Name and version, for the admin port.
    #[must_use]
    pub fn build_info(&self) -> BuildInfo {
        self.build.clone()
    }

    /// Sends what is left, for at most three seconds. Call it on every way out.
    pub async fn shutdown(self) {
        let Self { tracer, meter, metrics: _, build: _ } = self;
        // Both block; a flush that hangs must not keep the process.
        let flush = tokio::task::spawn_blocking(move || {
            (tracer.shutdown_with_timeout(FLUSH_TIMEOUT), meter.shutdown_with_timeout(FLUSH_TIMEOUT))
        });
        match tokio::time::timeout(FLUSH_TIMEOUT, flush).await {
            Ok(Ok((Ok(()), Ok(())))) => {}
            Ok(Ok((traces, meters))) => tracing::debug!(?traces, ?meters, "telemetry not flushed"),
            Ok(Err(error)) => tracing::debug!(%error, "telemetry not flushed"),
            Err(_) => tracing::debug!("telemetry not flushed in time"),
        }
    }
}

/// Sets up logging, tracing and metrics for the process. Call it before anything makes an instrument, and inside a Tokio
/// runtime.
///
/// # Errors
///
/// [`TelemetryError`]: a wrong environment, or a second call.
pub fn init(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    init_with_writer(config, std::io::stderr)
}

/// As [`init`], with log lines going to `writer`. For tests of what is logged.
///
/// # Errors
///
/// As [`init`].
pub fn init_with_writer<W>(config: &TelemetryConfig, writer: W) -> Result<Telemetry, TelemetryError>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let build = BuildInfo { service: config.service_name, version: config.version };
    let resource = opentelemetry_sdk::Resource::builder()
        .with_service_name(config.service_name)
        .with_attribute(opentelemetry::KeyValue::new("service.version", config.version))
        .build();
    let (meter, metrics) = meters::provider(resource.clone())?;
    let tracer = traces::provider(resource)?;
    logs::install(config.log, &tracer, writer)?;
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    opentelemetry::global::set_tracer_provider(tracer.clone());
    opentelemetry::global::set_meter_provider(meter.clone());
    build.report();
    Ok(Telemetry { tracer, meter, metrics, build })
}
