//! How many streams may be attached, in all and per person. A seat is given back when it is dropped.

use runmesh_domain::Refusal;
use runmesh_domain::id::{OrgId, UserId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

type Person = (OrgId, UserId);

/// The seats of a relay.
#[derive(Debug)]
pub struct Seats {
    taken: Mutex<Taken>,
    per_user_max: u32,
    max: u32,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_user: HashMap<Person, u32>,
}

/// One attached stream.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    person: Person,
}

impl Seats {
    /// So many in all, and so many for one person.
    pub fn new(max: u32, per_user_max: u32) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), per_user_max, max })
    }

    /// A seat for a person.
    pub fn take(self: &Arc<Self>, org: OrgId, user: UserId) -> Result<Seat, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            return Err(Refusal::ViewerLimit { max: self.max });
        }
        let own = taken.by_user.entry((org, user)).or_default();
        if *own >= self.per_user_max {
            return Err(Refusal::ViewerLimit { max: self.per_user_max });
        }
        *own += 1;
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), person: (org, user) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by_user.get_mut(&self.person) {
            *own -= 1;
            if *own == 0 {
                taken.by_user.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_come_back() {
        let seats = Seats::new(3, 2);
        let (org, ann, bob) = (OrgId::of_name("o"), UserId::of_subject("i", "ann"), UserId::of_subject("i", "bob"));
        let first = seats.take(org, ann);
        let second = seats.take(org, ann);
        assert!(first.is_ok() && second.is_ok());
        assert!(matches!(seats.take(org, ann), Err(Refusal::ViewerLimit { max: 2 })));
        let third = seats.take(org, bob);
        assert!(third.is_ok());
        assert!(matches!(seats.take(org, bob), Err(Refusal::ViewerLimit { max: 3 })));
        drop(first);
        assert!(seats.take(org, ann).is_ok());
        drop((second, third));
        assert!(seats.taken.lock().is_ok_and(|taken| taken.all == 0 && taken.by_user.is_empty()));
    }
}
