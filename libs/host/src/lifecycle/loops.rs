//! Background loops of one shape: a named span, a jittered tick, metrics. A tick that fails is logged and the loop goes on;
//! one that panics ends the process.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::Lifecycle;
use crate::{metrics, random};

impl Lifecycle {
    /// Calls `tick` about every `period` (± 10 %) until the drain begins; the first time after a part of a period, so that
    /// replicas started together spread out. A tick in progress is finished, unless the hard token fires.
    pub fn spawn_loop<F, Fut, E>(&self, name: &'static str, period: Duration, mut tick: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let soft = self.soft().clone();
        self.spawn(name, async move {
            let meters = LoopMeters::new(name);
            let mut pause = random::jittered(period) / 4;
            while soft.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
                let started = Instant::now();
                if let Err(error) = tick().await {
                    meters.errors.add(1, &meters.labels);
                    tracing::warn!(name, %error, "tick failed");
                }
                meters.duration.record(started.elapsed().as_secs_f64(), &meters.labels);
                pause = random::jittered(period);
            }
            Ok::<(), Infallible>(())
        });
    }
}

struct LoopMeters {
    duration: Histogram<f64>,
    errors: Counter<u64>,
    labels: [KeyValue; 1],
}

impl LoopMeters {
    fn new(name: &'static str) -> Self {
        let meter = opentelemetry::global::meter("runmesh-host");
        Self {
            duration: meter.f64_histogram(metrics::LOOP_TICK_DURATION).with_unit("s").build(),
            errors: meter.u64_counter(metrics::LOOP_TICK_ERRORS).build(),
            labels: [KeyValue::new("loop", name)],
        }
    }
}
