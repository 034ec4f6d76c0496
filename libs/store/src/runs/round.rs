//! How far a replica has come in its round over the orgs, and over the users of each, between one claim and the next. Pure: it asks
//! nothing of the database.

use std::collections::HashMap;
use uuid::Uuid;

/// Lanes whose users are remembered. Only lanes that hold the runs of more users than one claim takes are; when there are more, all
/// are forgotten and their users begin again.
const LANES_MAX: usize = 1_024;

/// Where the claims of one replica look next. A round looks at every org that has READY runs once, in the order of their ids,
/// beginning behind the one where the last round stopped. It lives in memory only: a replica that starts begins with the first org.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimRound {
    after: Uuid,
    began: Uuid,
    wrapped: bool,
    users: HashMap<Lane, Uuid>,
}

/// The READY runs of an org, or of an agent, that need the same built-in tools.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// The org or the agent.
    pub(crate) key: Uuid,
    /// As Postgres writes the list.
    pub(crate) needs: String,
}

/// Orgs that a look went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The last of them; absent when there was none.
    pub(crate) last: Option<Uuid>,
    /// Whether the look stopped there because it had found enough.
    pub(crate) is_cut: bool,
}

impl ClaimRound {
    /// Begins a round: every org is to be looked at again, from the place reached so far.
    pub fn restart(&mut self) {
        (self.began, self.wrapped) = (self.after, false);
    }

    /// The next look goes from behind the first of these orgs to the second.
    pub(crate) const fn bounds(&self) -> (Uuid, Uuid) {
        (self.after, if self.wrapped { self.began } else { Uuid::max() })
    }

    /// Goes on behind what was looked at. Answers whether the round has more orgs.
    pub(crate) fn advance(&mut self, stretch: Stretch) -> bool {
        if let (true, Some(last)) = (stretch.is_cut, stretch.last) {
            self.after = last;
            return true;
        }
        self.after = Uuid::nil();
        let has_more = !self.wrapped && !self.began.is_nil();
        self.wrapped = true;
        if !has_more {
            self.began = Uuid::nil();
        }
        has_more
    }

    /// The users behind whom the next claim begins, by lane.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&Lane, &Uuid)> {
        self.users.iter()
    }

    /// The next claim begins behind this user of the lane.
    pub(crate) fn begin_behind(&mut self, lane: Lane, user: Uuid) {
        if self.users.len() >= LANES_MAX && !self.users.contains_key(&lane) {
            self.users.clear();
        }
        self.users.insert(lane, user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    /// Looks at two of these orgs at a time until the round is over, and answers them in the order of the looks.
    fn whole_round(round: &mut ClaimRound, orgs: &[u128]) -> Vec<u128> {
        let mut seen = Vec::new();
        round.restart();
        for _ in 0..100 {
            let (after, until) = round.bounds();
            let within: Vec<u128> = orgs.iter().copied().filter(|n| org(*n) > after && org(*n) <= until).collect();
            let looked = &within[..within.len().min(2)];
            seen.extend(looked);
            let stretch = Stretch { last: looked.last().map(|n| org(*n)), is_cut: looked.len() == 2 };
            if !round.advance(stretch) {
                return seen;
            }
        }
        panic!("the round never ends: {seen:?}");
    }

    #[test]
    fn a_round_looks_at_every_org_once_from_wherever_it_begins() {
        for begin in 0..6 {
            let mut round = ClaimRound { after: org(begin), ..ClaimRound::default() };
            let mut seen = whole_round(&mut round, &[1, 2, 3, 4, 5]);
            assert_eq!(seen.first(), Some(&(begin % 5 + 1)), "from {begin}");
            seen.sort_unstable();
            assert_eq!(seen, [1, 2, 3, 4, 5], "from {begin}");
        }
        assert_eq!(whole_round(&mut ClaimRound::default(), &[]), Vec::<u128>::new());
    }

    #[test]
    fn a_round_that_stops_half_way_goes_on_there() {
        let mut round = ClaimRound::default();
        round.restart();
        assert!(round.advance(Stretch { last: Some(org(2)), is_cut: true }));
        assert_eq!(whole_round(&mut round, &[1, 2, 3]), [3, 1, 2]);
    }

    #[test]
    fn lanes_are_bounded() {
        let mut round = ClaimRound::default();
        for n in 0..2 * LANES_MAX as u128 {
            round.begin_behind(Lane { key: org(n), needs: String::new() }, org(1));
            assert!(round.users().count() <= LANES_MAX);
        }
    }
}
