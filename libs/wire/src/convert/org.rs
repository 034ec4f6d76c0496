//! What an org says of itself.

use super::{FromWire, IntoWire, join, signed32, unsigned};
use crate::pb::org as pb;
use runmesh_domain::Refusal;
use runmesh_domain::limits::OrgLimits;

impl FromWire<OrgLimits> for pb::OrgLimits {
    fn from_wire(self, path: &str) -> Result<OrgLimits, Refusal> {
        let Self { running_per_user_max, running_per_org_max } = self;
        let bound = |name: &str, value: Option<i32>| value.map(|value| unsigned(&join(path, name), value)).transpose();
        let limits = OrgLimits {
            running_per_user_max: bound("running_per_user_max", running_per_user_max)?,
            running_per_org_max: bound("running_per_org_max", running_per_org_max)?,
        };
        limits.check(path)?;
        Ok(limits)
    }
}

impl IntoWire<pb::OrgLimits> for OrgLimits {
    fn into_wire(self) -> pb::OrgLimits {
        let Self { running_per_user_max, running_per_org_max } = self;
        pb::OrgLimits {
            running_per_user_max: running_per_user_max.map(signed32),
            running_per_org_max: running_per_org_max.map(signed32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_round_trip_and_are_checked() {
        let wire = pb::OrgLimits { running_per_user_max: Some(3), running_per_org_max: None };
        let limits = wire.from_wire("limits");
        assert_eq!(limits, Ok(OrgLimits { running_per_user_max: Some(3), running_per_org_max: None }));
        assert_eq!(limits.map(IntoWire::into_wire), Ok(wire));
        for bad in [-1, 0, 10_001] {
            let wire = pb::OrgLimits { running_per_user_max: None, running_per_org_max: Some(bad) };
            let refused = wire.from_wire("limits");
            assert!(matches!(refused, Err(Refusal::InvalidField { field, .. }) if field == "limits.running_per_org_max"));
        }
    }
}
