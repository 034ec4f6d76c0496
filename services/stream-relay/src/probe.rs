//! Compares runs that are watched and quiet with Postgres, all of them at once. A log that stays behind is brought up; when
//! that fails and the run is over, its viewers are answered from Postgres. Words of an open attempt, of which Postgres knows
//! nothing, are looked for in the log itself.

use crate::hub::Watched;
use crate::limits;
use crate::relay::Relay;
use crate::truth::{For, Waits};
use futures::{StreamExt as _, stream};
use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_domain::run::StateName;
use std::collections::HashMap;
use std::sync::Arc;

impl Relay {
    /// One comparison. Costs nothing when no watched run is quiet.
    pub async fn probe(&self) -> Result<()> {
        let quiet = self.hub.quiet_for(limits::PROBE_QUIET);
        for some in quiet.chunks(limits::PROBE_RUNS) {
            let states = self.truth.states(some.iter().map(|run| run.key().run).collect()).await?;
            let states: HashMap<RunId, (StateName, u64)> =
                states.into_iter().map(|(run, state, version)| (run, (state, version))).collect();
            let known = some.iter().filter_map(|run| Some((run, *states.get(&run.key().run)?)));
            stream::iter(known)
                .for_each_concurrent(limits::PROBE_AT_ONCE, |(run, (state, version))| self.compare(run, state, version))
                .await;
            self.look_up_places(some, &states).await?;
        }
        Ok(())
    }

    async fn compare(&self, run: &Arc<Watched>, state: StateName, version: u64) {
        let tail = run.tail().unwrap_or_default();
        let behind = run.note_behind(version > tail.version);
        if version <= tail.version {
            return run.look_for_words();
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
                if state.is_terminal() && behind >= limits::GIVE_UP {
                    run.give_up();
                }
            }
        }
    }

    /// Places in queues change without a word in any log.
    async fn look_up_places(&self, some: &[Arc<Watched>], states: &HashMap<RunId, (StateName, u64)>) -> Result<()> {
        let mut looked_up = 0;
        for run in some {
            let key = run.key();
            let Some((state, _)) = states.get(&key.run).copied() else { continue };
            if !matches!(state, StateName::Queued | StateName::Ready) {
                run.set_waits(Waits::of_state(state));
            } else if looked_up < limits::PROBE_PLACES {
                looked_up += 1;
                run.set_waits(self.truth.waits(key.org, key.run).await?);
            }
        }
        Ok(())
    }
}
