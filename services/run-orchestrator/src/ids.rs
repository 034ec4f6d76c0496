//! New ids. The only place here that makes some.

use uuid::Uuid;

/// A new id's UUID: time-ordered, so that tables grow at their end.
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}
