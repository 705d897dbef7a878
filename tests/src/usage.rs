//! What a process uses of the machine, as `/proc` tells it: CPU time and memory.

use std::fs;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::wait;

/// A process is at rest when it used less than this of a CPU within [`REST_LOOK`].
const REST: Duration = Duration::from_millis(30);
const REST_LOOK: Duration = Duration::from_secs(1);
/// How long one may take to come to rest.
const REST_TIME: Duration = Duration::from_secs(30);

/// What the threads of a process have used of CPUs: all of them, or those of one name.
#[must_use]
pub fn cpu_time(process: &Process, thread: Option<&str>) -> Duration {
    let tasks = format!("/proc/{}/task", process.pid());
    let stats = fs::read_dir(&tasks).expect("the process runs").flatten();
    let ticks = stats.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (comm, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        // utime and stime, the 14th and 15th field of all, in hundredths of a second.
        thread.is_none_or(|name| comm == name).then(|| fields[11] + fields[12])
    });
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// What all processes and the kernel have used of all CPUs.
#[must_use]
pub fn machine_cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("the machine has statistics");
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // All but idle, iowait, steal and what guests are told twice: user, nice, system, irq, softirq.
    Duration::from_millis(10 * [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum::<u64>())
}

/// Resident memory of a process.
#[must_use]
pub fn resident_kib(process: &Process) -> u64 {
    let path = format!("/proc/{}/status", process.pid());
    field(&fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")), "VmRSS:")
}

/// What the kernel says of each descriptor that a process has open.
#[must_use]
pub fn descriptors(process: &Process) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fdinfo", process.pid())).expect("the process runs");
    entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()).collect()
}

/// The number behind a name, at the beginning of a line.
#[must_use]
#[track_caller]
pub fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is in\n{text}"))
}

/// Waits until a process that has just started does nothing but its daily work.
#[track_caller]
pub fn wait_rest(process: &Process) {
    let mut used = cpu_time(process, None);
    let mut look = Instant::now() + REST_LOOK;
    wait::until("it has come to rest", REST_TIME, || {
        if Instant::now() < look {
            return false;
        }
        look += REST_LOOK;
        let before = std::mem::replace(&mut used, cpu_time(process, None));
        used.saturating_sub(before) < REST
    });
}
