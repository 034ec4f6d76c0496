//! The mesh of this program's tests: the binary that was built with them.

use runmesh_testkit::mesh::Builder;

/// A mesh to be started.
pub fn mesh() -> Builder {
    runmesh_testkit::Mesh::builder(env!("CARGO_BIN_EXE_runmesh"))
}

/// One of everything: for tests that hurt nothing.
pub fn small() -> Builder {
    mesh().gateways(1).orchestrators(1).relays(1)
}
