//! The form of what a run's log shows of a transition. A kind that this version does not know is an error of its row: shown as
//! anything else it would be wrong, and the version that wrote it shows it.

use super::{Form, fields};
use runmesh_domain::transition::{Record, Stored};
use serde_json::Value;

impl Form for Record {
    fn write(&self) -> Value {
        serde_json::to_value(Stored::new(self.clone())).unwrap_or_default()
    }

    fn read(form: Value) -> Result<Self, String> {
        fields::<Stored>(form).map(|Stored { v: _, record }| record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_newer_versions_are_passed_over_and_their_kinds_are_not_guessed() {
        assert_eq!(Record::read(json!({"v": 1, "type": "quiet"})), Ok(Record::Quiet));
        assert_eq!(Record::read(json!({"v": 2, "type": "attempt_started", "worker": "w"})), Ok(Record::AttemptStarted));
        assert_eq!(Record::read(Record::AttemptStarted.write()), Ok(Record::AttemptStarted));
        assert!(Record::read(json!({"v": 2, "type": "steered"})).is_err());
    }
}
