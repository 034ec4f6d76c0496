//! The descriptors of the API, for reflection, JSON and the gateway's table of methods.

use prost_reflect::DescriptorPool;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The encoded descriptor set of every package and its imports.
pub const ENCODED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runmesh.descriptors"));

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(ENCODED).ok());

/// The descriptors, decoded once. Absent only if the build wrote a broken set, which a test rules out.
#[must_use]
pub fn pool() -> Option<&'static DescriptorPool> {
    POOL.as_ref()
}

static PATHS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let services = pool().into_iter().flat_map(DescriptorPool::services);
    let path = |method: prost_reflect::MethodDescriptor| format!("/{}/{}", method.parent_service().full_name(), method.name());
    services.flat_map(|service| service.methods().map(path).collect::<Vec<_>>()).collect()
});

/// True when `path`, `/package.Service/Method`, is a method of the API.
#[must_use]
pub fn is_method(path: &str) -> bool {
    PATHS.contains(path)
}

/// Full names of the services, `runmesh.run.v1.RunService`, in order.
#[must_use]
pub fn services() -> Vec<String> {
    let pool = pool().into_iter();
    let mut names: Vec<_> = pool.flat_map(DescriptorPool::services).map(|service| service.full_name().to_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_service_is_described() {
        assert!(super::services().contains(&"runmesh.run.v1.RunService".to_owned()));
        assert_eq!(super::services().len(), 8);
        assert!(super::is_method("/runmesh.run.v1.RunService/GetRun"));
        assert!(!super::is_method("/runmesh.run.v1.RunService/GetRuns"));
    }
}
