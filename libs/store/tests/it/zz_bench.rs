use crate::fixture::*;
use std::time::Instant;
use futures::FutureExt as _;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench() {
    let world = World::new().await;
    for v in ["session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = '4ms'", "auto_explain.log_analyze = on", "auto_explain.log_nested_statements=on", "client_min_messages = warning"] {
    crate::server::execute(&world.url, &format!("DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET {}', current_database()); END$$", v.replace("'", "''"))).await; }
    crate::server::value::<i64>(&world.url, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").await;
    let session = world.session().await;
    for round in 0..3 {
        let n = 300u32;
        let mut threads = vec![];
        for _ in 0..n { threads.push(world.thread().await); }
        let t = Instant::now();
        for th in &threads { world.send(*th, "hi").await; }
        let send = t.elapsed() / n;
        let t = Instant::now();
        let mut leases = vec![];
        for _ in 0..n { let c = world.claim(session, 1).await; leases.push(lease(&c[0].row)); }
        let claim = t.elapsed() / n;
        let t = Instant::now();
        for l in &leases { world.complete(*l, "done").await; }
        let finish = t.elapsed() / n;
        eprintln!("round {round}: send {send:?} claim1 {claim:?} finish {finish:?}");
    }
    // 10,000 ready
    let make = format!("INSERT INTO threads (id, org_id, user_id, agent_id) SELECT gen_random_uuid(), '{0}', '{1}', '{2}' FROM generate_series(1,9900);
     INSERT INTO runs (id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, state, version, fence, created_at, changed_at)
     SELECT gen_random_uuid(), org_id, id, user_id, agent_id, 1, 1, 'ready', 1, 0, clock_timestamp(), clock_timestamp() FROM threads WHERE next_turn = 1;
     INSERT INTO run_specs SELECT r.id, r.org_id, (SELECT spec FROM run_specs LIMIT 1) FROM runs r WHERE state='ready';
     INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, placed, created_at) SELECT gen_random_uuid(), org_id, thread_id, id, 1, 'user', '[]', 0, false, true, clock_timestamp() FROM runs WHERE state='ready';
     INSERT INTO run_transitions SELECT id, 1, org_id, null, 'ready', 'accepted', 0, null, clock_timestamp(), '{{\"v\":1,\"type\":\"quiet\"}}' FROM runs WHERE state='ready';
     UPDATE threads SET next_turn = 2 WHERE next_turn = 1;", world.org.uuid(), world.user.uuid(), world.agent.uuid());
    crate::server::execute(&world.url, &make).await;
    let dir: String = crate::server::value(&world.url, "SELECT current_setting('data_directory')").await; eprintln!("DIR {dir}");
    let t = Instant::now();
    for _ in 0..100 { assert_eq!(world.claim(session, 1).await.len(), 1); }
    eprintln!("claim 1 of 10000: {:?}", t.elapsed() / 100);
    let th = world.thread().await;
    let t = Instant::now();
    for _ in 0..50 { world.send(th, "x").await; }
    eprintln!("send with 10000 open: {:?}", t.elapsed() / 50);
    let t = Instant::now();
    let mut all = vec![];
    for _ in 0..40 { all.extend(world.try_claim(runmesh_store::runs::ClaimFor{session, limit: 250, queues: runmesh_domain::limits::Queues { running_per_user_max: 100000, running_per_org_max: 100000, ..QUEUES }}).await.unwrap()); }
    eprintln!("claim {} in 40: {:?}", all.len(), t.elapsed() / 40);
    let held: Vec<_> = all.iter().map(|c| (c.row.run.id, c.row.run.fence)).collect();
    for _ in 0..3 { let t = Instant::now();
    let beat = runmesh_store::sessions::heartbeat(&world.db, session, CREDENTIAL, 1, held.clone(), &LEASES).await.unwrap();
    eprintln!("beat {} {:?}: {} lost", held.len(), t.elapsed(), beat.lost.len()); }
    world.expire(session).await;
    let t = Instant::now();
    let r = world.system(|tx| async move { runmesh_store::runs::reap(tx, &LEASES, 500).await }.boxed()).await.unwrap();
    eprintln!("reap {} in {:?}", r.len(), t.elapsed());

    let parent = std::path::Path::new(&dir).parent().unwrap().to_owned();
    std::process::Command::new("sh").arg("-c").arg(format!("cp -r {0}/*.log {0}/*/*.log /tmp/storelogs/ 2>/dev/null; ls {0}", parent.display())).status().unwrap();
}
