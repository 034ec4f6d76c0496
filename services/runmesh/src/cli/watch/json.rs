//! Updates as JSON, one object each. The names of messages and fields are those of the API.

use runmesh_client::{EndReason, Update};
use runmesh_wire::convert::snapshot;
use runmesh_wire::{IntoWire as _, json};
use serde_json::{Value, json};

/// The objects of one update; none for what only says that the stream lives.
pub fn of(update: &Update) -> Vec<Value> {
    match update {
        Update::Snapshot(view) => {
            let mut whole = snapshot::head(view, String::new(), false);
            whole.steps = view.steps.iter().map(|(key, step)| snapshot::step(key, step)).collect();
            vec![json!({"snapshot": json::of("runmesh.stream.v1.Snapshot", &whole)})]
        }
        Update::Events { events, cursor } => {
            let last = events.last().map(|(seq, _)| *seq);
            let object = |(seq, event): &(u64, runmesh_domain::event::Event)| {
                let event = json::of("runmesh.stream.v1.RunEvent", &event.clone().into_wire());
                let mut object = json!({"seq": seq, "event": event});
                // A cursor covers the whole batch, so that only its last event may carry it.
                if let (Some(object), true) = (object.as_object_mut(), last == Some(*seq)) {
                    object.insert("cursor".to_owned(), Value::String(cursor.clone()));
                }
                object
            };
            events.iter().map(object).collect()
        }
        Update::Status(status) => vec![json!({"status": json::of("runmesh.stream.v1.Status", status)})],
        Update::Progress => Vec::new(),
        Update::Reset(reason) => vec![json!({"reset": {"reason": reason.as_str_name()}})],
        Update::Reconnecting { error } => vec![json!({"reconnecting": {"error": error.to_string()}})],
        Update::End { reason, state } => {
            let reason = match reason {
                EndReason::Finished => "FINISHED",
                EndReason::TokenExpired => "TOKEN_EXPIRED",
            };
            vec![json!({"end": {"reason": reason, "state": state.map(runmesh_domain::run::StateName::name)}})]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::event::Event;

    #[test]
    fn each_event_is_an_object_and_the_last_has_the_cursor() {
        let event = |text: &str| Event::TextDelta { step: 1.into(), text: text.into() };
        let update = Update::Events { events: vec![(1, event("a")), (2, event("b"))], cursor: "c".into() };
        let objects = of(&update);
        assert_eq!(objects[0], json!({"seq": 1, "event": {"text_delta": {"step_index": 1, "text": "a", "path": ""}}}));
        assert_eq!(objects[1]["cursor"], "c");
    }
}
