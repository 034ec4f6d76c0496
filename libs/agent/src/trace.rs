//! The spans of a run, and how they join the trace of the message that the run answers. Tells OpenTelemetry who begot whom;
//! exports nothing and works, as plain spans, when nobody listens.
//!
//! A first attempt is a part of the trace of the call that sent the message. An attempt that takes a run up again is a trace
//! of its own with a link to that call: it may come hours later, when the first trace is long complete.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use runmesh_domain::journal::Usage;
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::header::TRACEPARENT;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What a span of generative AI does: `invoke_agent`, `chat` or `execute_tool`. The semantic conventions for generative AI
/// are still moving, so their names stand here and nowhere else.
pub(crate) const OPERATION_NAME: &str = "gen_ai.operation.name";
/// The dialect that the provider speaks; `openai` for everything that is compatible with it.
pub(crate) const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub(crate) const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Tokens read.
pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens written.
pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// The tool that is called.
pub(crate) const TOOL_NAME: &str = "gen_ai.tool.name";
/// The provider's id of the call.
pub(crate) const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";

/// Whether a span failed, as the bridge to OpenTelemetry wants to be told.
const STATUS: &str = "otel.status_code";

/// The span of one attempt. `traceparent` is of the call that sent the message, or empty.
pub(crate) fn run(held: HeldRun, traceparent: &str) -> Span {
    // No child of the worker's task, which lasts as long as the process.
    let span = tracing::info_span!(
        parent: None, "run", run_id = %held.run, fence = held.fence, { OPERATION_NAME } = "invoke_agent"
    );
    let sent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Header(traceparent.to_owned()));
    let sender = sent.span().span_context().clone();
    if !sender.is_valid() {
        return span;
    }
    if held.fence > 1 {
        span.add_link(sender);
    } else {
        // Refused only when nobody listens.
        let _heard = span.set_parent(sent);
    }
    span
}

/// The span of one try of a model call.
pub(crate) fn model_call(model: &str) -> Span {
    tracing::info_span!(
        "chat",
        otel.name = format!("chat {model}"),
        otel.kind = "client",
        { STATUS } = Empty,
        { OPERATION_NAME } = "chat",
        { PROVIDER_NAME } = "openai",
        { REQUEST_MODEL } = model,
        { INPUT_TOKENS } = Empty,
        { OUTPUT_TOKENS } = Empty,
    )
}

/// A model call gave a whole step.
pub(crate) fn used(span: &Span, usage: Usage) {
    span.record(INPUT_TOKENS, usage.input_tokens).record(OUTPUT_TOKENS, usage.output_tokens);
}

/// What `span` stands for failed.
pub(crate) fn failed(span: &Span) {
    span.record(STATUS, "error");
}

/// The span of one tool call.
pub(crate) fn tool_call(name: &str, call_id: &str, call_index: u32) -> Span {
    tracing::info_span!(
        "tool",
        otel.name = format!("execute_tool {name}"),
        call_index,
        { OPERATION_NAME } = "execute_tool",
        { TOOL_NAME } = name,
        { TOOL_CALL_ID } = call_id,
    )
}

/// `span` as a W3C traceparent for the calls made in it; `otherwise` when nobody listens.
pub(crate) fn traceparent(span: &Span, otherwise: String) -> String {
    let mut header = Header(otherwise);
    TraceContextPropagator::new().inject_context(&span.context(), &mut header);
    header.0
}

/// The one header that matters here.
struct Header(String);

impl Extractor for Header {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT && !self.0.is_empty()).then_some(self.0.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

impl Injector for Header {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use runmesh_domain::id::RunId;
    use tracing_subscriber::layer::SubscriberExt as _;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn sent() -> String {
        format!("00-{TRACE}-b7ad6b7169203331-01")
    }

    fn held(fence: u64) -> HeldRun {
        HeldRun { run: RunId::derived(&[b"r"]), fence }
    }

    /// Does `work` while somebody listens.
    fn heard<T>(work: impl FnOnce() -> T) -> T {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber = tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, work)
    }

    #[test]
    fn a_first_attempt_is_of_the_senders_trace_wherever_it_starts() {
        let traceparent = heard(|| {
            let _task = tracing::info_span!("task").entered();
            traceparent(&run(held(1), &sent()), String::new())
        });
        assert!(traceparent.contains(TRACE), "{traceparent}");
        assert_ne!(traceparent, sent(), "it is a span of its own");
    }

    #[test]
    fn a_later_attempt_is_a_trace_of_its_own() {
        let (first, second) = heard(|| {
            let task = tracing::info_span!("task").entered();
            (traceparent(&task, String::new()), traceparent(&run(held(2), &sent()), String::new()))
        });
        assert!(!second.is_empty() && !second.contains(TRACE), "{second}");
        assert_ne!(first.get(3..35), second.get(3..35), "nor of the task's trace");
    }

    #[test]
    fn what_a_run_calls_is_of_its_trace() {
        let (call, tool) = heard(|| {
            let _run = run(held(1), &sent()).entered();
            (traceparent(&model_call("m"), String::new()), traceparent(&tool_call("t", "c", 0), String::new()))
        });
        assert!(call.contains(TRACE) && tool.contains(TRACE), "{call} {tool}");
    }

    #[test]
    fn without_a_listener_calls_carry_what_the_assignment_says() {
        assert_eq!(traceparent(&run(held(1), &sent()), sent()), sent());
        assert_eq!(traceparent(&run(held(1), "nonsense"), String::new()), "");
    }
}
