//! The subscriber: filter, log lines, and the bridge from spans to OpenTelemetry.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::json::JsonLines;
use super::{LOG_ONLY, LogFormat, TelemetryError};

/// Libraries that say at INFO what is nobody's news are heard from WARN on.
const FILTER_DEFAULT: &str = "info,opentelemetry=warn,opentelemetry_sdk=warn,sqlx=warn,async_nats=warn";

pub(super) fn install<W>(format: LogFormat, tracer: &SdkTracerProvider, writer: W) -> Result<(), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer("runmesh"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|metadata| metadata.target() != LOG_ONLY));
    Registry::default().with(filter()?).with(spans).with(lines(format, writer)).try_init().map_err(|_| TelemetryError::Twice)
}

fn filter() -> Result<EnvFilter, TelemetryError> {
    match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => {
            EnvFilter::try_new(&wanted).map_err(|error| TelemetryError::Filter(error.to_string()))
        }
        _ => Ok(EnvFilter::new(FILTER_DEFAULT)),
    }
}

type BoxLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn lines<S, W>(format: LogFormat, writer: W) -> BoxLayer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if format.is_json() {
        layer.with_ansi(false).event_format(JsonLines::default()).boxed()
    } else {
        layer.with_ansi(is_coloured()).with_target(false).boxed()
    }
}

/// Colours on a terminal, unless `NO_COLOR` says anything at all (no-color.org).
fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
