//! What tells an exact repeat of a holder's write from another one: digests of the bytes that the holder sent, so that they are the
//! same in every version of this service.

use runmesh_domain::canonical::Sha256Digest;
use runmesh_wire::pb::worker::{FinishRequest, RecordStepRequest};
use runmesh_wire::received::Received;

/// Numbers of fields, by `Message.field`.
mod field {
    /// `RecordStepRequest.entries`.
    pub(super) const ENTRIES: u32 = 2;
    /// `JournalEntry.model_step`.
    pub(super) const MODEL_STEP: u32 = 1;
    /// `ModelStepEntry.result`.
    pub(super) const RESULT: u32 = 2;
    /// `FinishRequest.lease`.
    pub(super) const LEASE: u32 = 1;
    /// `FinishRequest.last_step`.
    pub(super) const LAST_STEP: u32 = 5;
    /// `FinishRequest.acked`.
    pub(super) const ACKED: u32 = 7;
}

/// For each entry, the digest of the model step that it journals.
pub fn of_entries(request: &RecordStepRequest) -> Vec<Sha256Digest> {
    let received = Received::of_this_call().unwrap_or_else(|| Received::encoded(request));
    let of_step = |entry: Received| entry.message(field::MODEL_STEP).message(field::RESULT).digest_without(&[]);
    received.messages(field::ENTRIES).into_iter().map(of_step).collect()
}

/// The digest of the whole Finish, and that of its last step.
pub fn of_finish(request: &FinishRequest) -> (Sha256Digest, Sha256Digest) {
    let received = Received::of_this_call().unwrap_or_else(|| Received::encoded(request));
    let last_step = received.message(field::LAST_STEP).message(field::RESULT);
    (received.digest_without(&[field::LEASE, field::ACKED]), last_step.digest_without(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_wire::descriptors;
    use runmesh_wire::pb::worker::journal_entry::Entry;
    use runmesh_wire::pb::worker::{JournalEntry, Lease, LogPosition, ModelStep, ModelStepEntry};

    fn step(model: &str) -> ModelStepEntry {
        let result = ModelStep { model: model.into(), ..ModelStep::default() };
        ModelStepEntry { step_index: 1, result: Some(result), ..ModelStepEntry::default() }
    }

    #[test]
    fn the_numbers_are_those_of_the_protocol() {
        let number = |message: &str, name: &str| {
            let message = descriptors::pool()?.get_message_by_name(&format!("runmesh.worker.v1.{message}"))?;
            message.get_field_by_name(name).map(|field| field.number())
        };
        assert_eq!(number("RecordStepRequest", "entries"), Some(field::ENTRIES));
        assert_eq!(number("JournalEntry", "model_step"), Some(field::MODEL_STEP));
        assert_eq!(number("ModelStepEntry", "result"), Some(field::RESULT));
        assert_eq!(number("FinishRequest", "lease"), Some(field::LEASE));
        assert_eq!(number("FinishRequest", "last_step"), Some(field::LAST_STEP));
        assert_eq!(number("FinishRequest", "acked"), Some(field::ACKED));
    }

    #[test]
    fn a_step_has_one_digest_whether_it_is_journaled_or_ends_the_run() {
        let entry = |model: &str| JournalEntry { entry: Some(Entry::ModelStep(step(model))) };
        let record = RecordStepRequest { entries: vec![entry("a"), entry("b")], ..RecordStepRequest::default() };
        let finish = |model: &str| FinishRequest { last_step: Some(step(model)), ..FinishRequest::default() };
        assert_eq!(of_entries(&record), [of_finish(&finish("a")).1, of_finish(&finish("b")).1]);
        assert_ne!(of_finish(&finish("a")), of_finish(&finish("b")));
    }

    #[test]
    fn the_lease_and_the_acked_position_are_not_what_a_finish_says() {
        let plain = FinishRequest { reason: "R".into(), ..FinishRequest::default() };
        let later = FinishRequest { lease: Some(Lease::default()), acked: Some(LogPosition::default()), ..plain.clone() };
        assert_eq!(of_finish(&plain), of_finish(&later));
        assert_ne!(of_finish(&plain), of_finish(&FinishRequest { detail: "d".into(), ..plain.clone() }));
    }
}
