//! Log lines as JSON objects: time, level, target, message and fields, the names and fields of the spans around, and the trace
//! they belong to. Never fails: what has no JSON form is shown as text.

use std::fmt;

use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The formatter of JSON lines.
#[derive(Default)]
pub(super) struct JsonLines {
    clock: SystemTime,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        let mut time = String::with_capacity(32);
        self.clock.format_time(&mut Writer::new(&mut time))?;
        line.insert("timestamp".to_owned(), time.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        event.record(&mut Fields(&mut line));
        spans(context, &mut line);
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Adds the spans around the event, outermost first, and the ids of their trace.
fn spans<S, N>(context: &FmtContext<'_, S, N>, line: &mut Map<String, Value>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    // Not the current span: an event may name another one as its parent.
    let Some(innermost) = context.parent_span() else { return };
    let trace = tracing::dispatcher::get_default(|dispatch| tracing_opentelemetry::get_otel_context(&innermost.id(), dispatch));
    if let Some(trace) = trace
        && trace.span().span_context().is_valid()
    {
        let ids = trace.span().span_context().clone();
        line.insert("trace_id".to_owned(), ids.trace_id().to_string().into());
        line.insert("span_id".to_owned(), ids.span_id().to_string().into());
    }
    let around = innermost.scope().from_root().map(|span| {
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str()).unwrap_or_default();
        if fields.is_empty() { span.name().into() } else { format!("{}{{{fields}}}", span.name()).into() }
    });
    let around: Vec<Value> = around.collect();
    line.insert("spans".to_owned(), around.into());
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
