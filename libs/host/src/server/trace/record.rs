//! What is written down about one call when it ends. Ends exactly once: by its status, or by being dropped.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, UpDownCounter};
use tokio::time::Instant;
use tonic::Code;
use tracing::Span;

use crate::{metrics, status};

/// Bounds of the latency histogram, seconds: a local hop is well under a millisecond, a long poll half a minute.
const BOUNDS: [f64; 14] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

pub(super) struct Meters {
    duration: Histogram<f64>,
    in_flight: UpDownCounter<i64>,
}

impl Meters {
    pub(super) fn new() -> Self {
        let meter = opentelemetry::global::meter("runmesh-host");
        Self {
            duration: meter.f64_histogram(metrics::SERVER_CALL_DURATION).with_unit("s").with_boundaries(BOUNDS.to_vec()).build(),
            in_flight: meter.i64_up_down_counter(metrics::SERVER_CALLS_IN_FLIGHT).build(),
        }
    }
}

pub(super) struct Record {
    span: Span,
    method: String,
    started: Instant,
    meters: Arc<Meters>,
    done: bool,
}

impl Record {
    pub(super) fn start(span: Span, method: String, meters: Arc<Meters>) -> Self {
        meters.in_flight.add(1, &[]);
        Self { span, method, started: Instant::now(), meters, done: false }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn finish(mut self, code: Code) {
        self.write(code);
    }

    fn write(&mut self, code: Code) {
        self.done = true;
        let code_name = status::name(code);
        let elapsed = self.started.elapsed();
        self.span.record("rpc.response.status_code", code_name);
        let method = std::mem::take(&mut self.method);
        let labels = [KeyValue::new("rpc.method", method), KeyValue::new("rpc.response.status_code", code_name)];
        self.meters.duration.record(elapsed.as_secs_f64(), &labels);
        self.meters.in_flight.add(-1, &[]);
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if status::is_fault(code) {
            self.span.record("otel.status_code", "ERROR");
            tracing::error!(parent: &self.span, code = code_name, elapsed_us, "call failed");
        } else {
            tracing::debug!(parent: &self.span, code = code_name, elapsed_us, "call ended");
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.done {
            self.write(Code::Cancelled);
        }
    }
}
