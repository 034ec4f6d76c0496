//! Server reflection, v1 and v1alpha (grpcurl of the common packages speaks only the older one). Its messages
//! are bounded here; how many streams there may be, and for how long, the server says.

use tonic::service::Routes;

use crate::server::infrastructure::REFLECTION_MESSAGE_BYTES_MAX;

/// Why reflection could not be built: a descriptor set does not decode.
#[derive(Debug, thiserror::Error)]
#[error("descriptor set refused by reflection")]
pub struct Error(#[from] tonic_reflection::server::Error);

/// `routes` with reflection over `descriptor_sets` (encoded `FileDescriptorSet`s), the health protocol and the error details.
/// A file that is in several sets is served once, from the first.
///
/// # Errors
///
/// When a set does not decode.
pub fn routes(routes: Routes, descriptor_sets: &[&[u8]]) -> Result<Routes, Error> {
    let all = || {
        let own = [crate::health::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET];
        let builder = tonic_reflection::server::Builder::configure();
        descriptor_sets.iter().copied().chain(own).fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
    };
    let v1 = all().build_v1()?.max_decoding_message_size(REFLECTION_MESSAGE_BYTES_MAX);
    let v1alpha = all().build_v1alpha()?.max_decoding_message_size(REFLECTION_MESSAGE_BYTES_MAX);
    Ok(routes.add_service(v1).add_service(v1alpha))
}
