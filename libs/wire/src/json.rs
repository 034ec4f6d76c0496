//! Messages as protobuf JSON, by their descriptors.

use crate::descriptors;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

/// `message`, whose full name is `name`, as protobuf JSON with the field names of the proto files. Fields at their
/// defaults are shown, so that scripts may rely on them. Null when `name` is unknown.
#[must_use]
pub fn of<M: prost::Message>(name: &str, message: &M) -> Value {
    let Some(descriptor) = descriptors::pool().and_then(|pool| pool.get_message_by_name(name)) else {
        return Value::Null;
    };
    let Ok(dynamic) = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()) else {
        return Value::Null;
    };
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false).stringify_64_bit_integers(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use crate::pb::worker::Lease;

    #[test]
    fn names_and_defaults_are_those_of_the_proto() {
        let lease = Lease { run_id: "run_1".into(), fence: 0 };
        let json = super::of("runmesh.worker.v1.Lease", &lease);
        assert_eq!(json, serde_json::json!({"run_id": "run_1", "fence": 0}));
    }
}
