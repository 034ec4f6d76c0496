//! Idempotency keys: new for every intent, the same over its retries.

use uuid::Uuid;

/// A new key: a UUID of version 7 as text.
pub(crate) fn new() -> String {
    Uuid::now_v7().to_string()
}

/// A number between 0 and 1 that differs from call to call, for jitter only.
pub(crate) fn chance() -> f64 {
    let bits = u32::try_from(Uuid::now_v7().as_u128() & 0xffff_ffff).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_pass_the_check_of_the_server() {
        assert!(runmesh_domain::text::idempotency_key(&super::new()).is_ok());
        assert_ne!(super::new(), super::new());
        assert!((0.0..=1.0).contains(&super::chance()));
    }
}
