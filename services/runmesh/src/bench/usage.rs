//! What processes use, as the kernel counts it: CPU time and resident memory. Linux only; elsewhere it knows nothing.

use std::collections::BTreeMap;
use std::fs;

/// Clock ticks of a second in `/proc`: 100 on every Linux that is built today.
const TICKS: f64 = 100.0;

/// CPU seconds by part.
pub(super) type Cpu = BTreeMap<&'static str, f64>;

/// CPU seconds that a process has used so far.
pub(super) fn cpu(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.cpu)
}

/// CPU seconds of a process and of its children, the dead ones included.
pub(super) fn cpu_of_family(pid: u32) -> f64 {
    let folder = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folder.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(stat).filter(|stat| stat.parent == pid).map(|stat| stat.cpu);
    children.sum::<f64>() + stat(pid).map_or(0.0, |stat| stat.cpu + stat.waited_for)
}

/// Resident memory of a process in megabytes.
pub(super) fn resident_mb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1_024.0)
}

struct Stat {
    parent: u32,
    cpu: f64,
    waited_for: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields of `proc_pid_stat(5)` from its third on: the second may hold anything, but ends with the last parenthesis.
fn parse(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let (user, system, waited_user, waited_system) = (ticks(11)?, ticks(12)?, ticks(13)?, ticks(14)?);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu: (user + system) / TICKS,
        waited_for: (waited_user + waited_system) / TICKS,
    })
}

#[cfg(test)]
mod tests {
    use super::{cpu, parse, resident_mb};

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name() {
        let line = "42 (a) b) S 7 42 42 0 -1 0 1 2 3 4 150 50 20 5 20 0 9 0 1 2 3";
        let stat = parse(line).map(|stat| (stat.parent, stat.cpu, stat.waited_for));
        assert_eq!(stat, Some((7, 2.0, 0.25)));
    }

    #[test]
    fn this_process_uses_memory() {
        let pid = std::process::id();
        assert!(resident_mb(pid).is_some_and(|mb| mb > 0.5));
        assert!(cpu(pid) >= 0.0);
    }
}
