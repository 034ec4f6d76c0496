//! Which of the picked runs each worker session gets. Pure: a claim asks it between reading and writing.

use super::pick::Picked;
use runmesh_domain::id::SessionId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// A worker session that has room.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Worker {
    /// The session.
    pub(crate) id: Uuid,
    /// Runs that it takes at most.
    #[sqlx(skip)]
    pub(crate) credits: u32,
    /// The orgs that it serves; every one when absent.
    pub(crate) orgs: Option<Vec<Uuid>>,
    /// The agents that it serves; every one when absent.
    pub(crate) agents: Option<Vec<Uuid>>,
    /// Its built-in tools.
    pub(crate) tools: Vec<String>,
    /// Runs that it drives.
    pub(crate) in_hand: i64,
}

impl Worker {
    /// As `serves!` of the statements says it.
    fn serves(&self, wanted: &Wanted) -> bool {
        self.orgs.as_ref().is_none_or(|orgs| orgs.contains(&wanted.org))
            && self.agents.as_ref().is_none_or(|agents| agents.contains(&wanted.agent))
            && wanted.needs.iter().all(|tool| self.tools.iter().any(|own| own == tool || own == "*"))
    }
}

/// Sessions that serve the same runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    /// One of them.
    pub(crate) example: Uuid,
    /// Runs that they take together at most.
    pub(crate) credits: i64,
    /// Whether one of them drives nothing.
    pub(crate) is_idle: bool,
}

/// Groups sessions by what they serve, so that a statement compares runs with kinds and not with every session.
pub(crate) fn kinds(workers: &[Worker]) -> Vec<Kind> {
    let mut places = HashMap::new();
    let mut kinds: Vec<Kind> = Vec::new();
    for worker in workers {
        let (credits, is_idle) = (i64::from(worker.credits), worker.in_hand == 0);
        match places.entry((&worker.orgs, &worker.agents, &worker.tools)) {
            Entry::Occupied(place) => {
                let kind: &mut Kind = &mut kinds[*place.get()];
                kind.credits += credits;
                kind.is_idle |= is_idle;
            }
            Entry::Vacant(place) => {
                place.insert(kinds.len());
                kinds.push(Kind { example: worker.id, credits, is_idle });
            }
        }
    }
    kinds
}

/// What a run wants of its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) org: Uuid,
    pub(crate) agent: Uuid,
    pub(crate) needs: Vec<String>,
    /// It may be what kills its workers, and goes to a session that drives nothing else.
    pub(crate) alone: bool,
    /// It waited so long for such a session that any will do.
    pub(crate) waited: bool,
}

/// Gives each run a session: nobody a second before everybody who can take one has a first, and then those first that have the
/// fewest in hand. A run goes alone when it must, and those come first. Runs that find no session are left out.
pub(crate) fn share(picked: Vec<Picked>, workers: &[Worker]) -> Vec<(Picked, SessionId)> {
    let wanted: Vec<Wanted> = picked.iter().map(|one| one.wanted.clone()).collect();
    let given = assign(&wanted, workers);
    let all = picked.into_iter().zip(given);
    all.filter_map(|(one, session)| Some((one, SessionId::from_uuid(session?)))).collect()
}

fn assign(wanted: &[Wanted], workers: &[Worker]) -> Vec<Option<Uuid>> {
    // How many of the runs each session could take: who can take few takes first.
    let options: Vec<usize> = workers.iter().map(|worker| wanted.iter().filter(|one| worker.serves(one)).count()).collect();
    let (mut given, mut closed) = (vec![0_u32; workers.len()], vec![false; workers.len()]);
    let mut answer = vec![None; wanted.len()];
    let (alone, shared): (Vec<usize>, Vec<usize>) = (0..wanted.len()).partition(|place| wanted[*place].alone);
    for place in alone.into_iter().chain(shared) {
        let one = &wanted[place];
        let may_take = |at: &usize| {
            let (at, worker) = (*at, &workers[*at]);
            let fits = !one.alone || (given[at] == 0 && (worker.in_hand == 0 || one.waited));
            !closed[at] && given[at] < worker.credits && fits && worker.serves(one)
        };
        let rank = |at: &usize| (given[*at], options[*at], workers[*at].in_hand, *at);
        if let Some(at) = (0..workers.len()).filter(may_take).min_by_key(rank) {
            given[at] += 1;
            closed[at] = one.alone;
            answer[place] = Some(workers[at].id);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn worker(n: u128, credits: u32, in_hand: i64) -> Worker {
        Worker { id: id(n), credits, orgs: None, agents: None, tools: vec!["*".into()], in_hand }
    }

    fn run(agent: u128) -> Wanted {
        Wanted { org: id(1), agent: id(agent), needs: vec!["clock".into()], alone: false, waited: false }
    }

    fn assigned(wanted: &[Wanted], workers: &[Worker]) -> Vec<Option<u128>> {
        assign(wanted, workers).into_iter().map(|session| session.map(|id| id.as_u128())).collect()
    }

    #[test]
    fn everybody_gets_one_before_anybody_gets_two_and_the_idle_come_first() {
        let workers = [worker(1, 9, 5), worker(2, 9, 0), worker(3, 1, 7)];
        let all = vec![run(1); 6];
        assert_eq!(
            assigned(&all, &workers),
            [2, 1, 3, 2, 1, 2].map(Some),
            "one each, then by what is in hand, within the credits"
        );
        assert_eq!(assigned(&vec![run(1); 3], &[worker(1, 1, 0), worker(2, 1, 0)]), [Some(1), Some(2), None]);
    }

    #[test]
    fn who_can_take_little_takes_first() {
        let narrow = Worker { agents: Some(vec![id(7)]), ..worker(2, 5, 9) };
        assert_eq!(assigned(&[run(7), run(8)], &[worker(1, 5, 0), narrow]), [Some(2), Some(1)]);
    }

    #[test]
    fn nobody_gets_what_it_may_not_or_cannot_serve() {
        let elsewhere = Worker { orgs: Some(vec![id(2)]), ..worker(1, 5, 0) };
        let other_agent = Worker { agents: Some(vec![id(9)]), ..worker(2, 5, 0) };
        let no_tools = Worker { tools: vec!["other".into()], ..worker(3, 5, 0) };
        assert_eq!(assigned(&[run(1)], &[elsewhere, other_agent, no_tools]), [None]);
        let has_it = Worker { tools: vec!["clock".into()], ..worker(4, 5, 0) };
        assert_eq!(assigned(&[run(1)], &[has_it]), [Some(4)]);
    }

    #[test]
    fn what_may_kill_its_worker_goes_alone() {
        let deadly = Wanted { alone: true, ..run(1) };
        let workers = [worker(1, 5, 0), worker(2, 5, 3)];
        assert_eq!(assigned(&[run(1), deadly.clone(), run(1)], &workers), [Some(2), Some(1), Some(2)]);
        assert_eq!(assigned(&[deadly.clone(), deadly.clone()], &workers), [Some(1), None], "the other drives something");
        let waited = Wanted { waited: true, ..deadly };
        assert_eq!(assigned(&[run(1), waited.clone()], &workers[1..]), [None, Some(2)], "after a while any will do, alone");
    }

    #[test]
    fn sessions_that_serve_the_same_are_one_kind() {
        let narrow = Worker { agents: Some(vec![id(7)]), ..worker(3, 4, 1) };
        let found = kinds(&[worker(1, 2, 1), worker(2, 3, 0), narrow]);
        let kind = |n, credits, is_idle| Kind { example: id(n), credits, is_idle };
        assert_eq!(found, [kind(1, 5, true), kind(3, 4, false)]);
    }
}
