//! Everything protobuf: the generated code, the conversions between it and the domain, the codec, and the one file that
//! makes a [`tonic::Status`].
//!
//! *Invariant:* messages are destructured whole on their way in, so that a new field is a compile error until somebody has
//! decided about it.

pub mod caller;
pub mod channel;
pub mod codec;
pub mod convert;
pub mod deadline;
pub mod descriptors;
pub mod header;
pub mod json;
pub mod received;
pub mod status;

pub use convert::{FromWire, IntoWire};

/// The generated code, in the modules of its packages.
#[expect(missing_docs, unused_qualifications, clippy::allow_attributes, clippy::large_enum_variant, reason = "generated code")]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/runmesh.rs"));

    pub use runmesh::agent::v1 as agent;
    pub use runmesh::approval::v1 as approval;
    pub use runmesh::error::v1 as error;
    pub use runmesh::log::v1 as log;
    pub use runmesh::org::v1 as org;
    pub use runmesh::run::v1 as run;
    pub use runmesh::stream::v1 as stream;
    pub use runmesh::summary::v1 as summary;
    pub use runmesh::thread::v1 as thread;
    pub use runmesh::worker::v1 as worker;

    /// StreamService as a relay serves it: events and snapshots are bytes, encoded once for all viewers. So whatever a newer worker
    /// wrote is passed on as it is.
    pub mod relay {
        include!(concat!(env!("OUT_DIR"), "/relay/relay.rs"));

        pub use runmesh::stream::v1::*;
    }
}
