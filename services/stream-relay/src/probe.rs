//! Compares runs that are watched and quiet with Postgres, many at once and each less and less often. A log that stays behind is
//! brought up; when that fails and the run is over, its viewers are answered from Postgres. So an end is noticed that could not be
//! published. Words of an open attempt, of which Postgres knows nothing, are looked for in the log itself.

use crate::hub::Watched;
use crate::limits;
use crate::relay::Relay;
use crate::truth::{For, Waits};
use futures::{StreamExt as _, stream};
use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_domain::run::StateName;
use runmesh_store::runs::Standing;
use std::collections::HashMap;
use std::sync::Arc;

impl Relay {
    /// One comparison. Costs nothing when no watched run is due.
    pub async fn probe(&self) -> Result<()> {
        let due = self.hub.due();
        for some in due.chunks(limits::PROBE_RUNS) {
            let standings = self.truth.standings(some.iter().map(|run| run.key().run).collect()).await?;
            let standings: HashMap<RunId, Standing> = standings.into_iter().map(|standing| (standing.run, standing)).collect();
            let known = some.iter().filter_map(|run| Some((run, *standings.get(&run.key().run)?)));
            stream::iter(known).for_each_concurrent(limits::PROBE_AT_ONCE, |(run, standing)| self.compare(run, standing)).await;
        }
        look_for_words(&due);
        Ok(())
    }

    async fn compare(&self, run: &Arc<Watched>, standing: Standing) {
        let tail = run.tail().unwrap_or_default();
        let behind = run.note_behind(standing.version > tail.version);
        let waits = Waits::of(&standing);
        // Places in queues change without a word in any log.
        let is_news = run.set_waits(waits);
        if standing.version <= tail.version || has_nothing_to_show(&standing) {
            if !is_news {
                run.slow_down(if waits.is_waiting() { limits::PROBE_WAITING } else { limits::PROBE_LONGEST });
            }
            return;
        }
        if behind < limits::PROBE_QUIET {
            // Perhaps only a message of the subscription was lost.
            run.look();
            return;
        }
        match self.bring_up(For::Probe, run.key(), tail).await {
            Ok(_) => run.look(),
            Err(error) => {
                tracing::warn!(run = %run.key().run, %error, "a log stays behind its run");
                if standing.state.is_terminal() && behind >= limits::GIVE_UP {
                    run.give_up();
                }
                run.slow_down(limits::PROBE_WAITING);
            }
        }
    }
}

/// A run that was accepted, and promoted perhaps: its log is begun by its claim or its end.
fn has_nothing_to_show(standing: &Standing) -> bool {
    let never_started = standing.version <= 1 || (standing.version == 2 && standing.state == StateName::Ready);
    never_started && matches!(standing.state, StateName::Queued | StateName::Ready)
}

/// Has some logs looked at for words, those first that are due the longest.
fn look_for_words(due: &[Arc<Watched>]) {
    let mut words: Vec<_> = due.iter().filter_map(|run| Some((run.words_due()?, run))).collect();
    words.sort_by_key(|(since, _)| *since);
    words.iter().take(limits::LOOKS_FOR_WORDS).for_each(|(_, run)| run.look_for_words());
}
