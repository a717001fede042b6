//! What the benchmark needs of the system: pinning to CPUs, many descriptors, the memory in use. Where a
//! system has no safe interface for one of these, it is missing; on Windows, `win32_floor` has the pinning.

use crate::Failure;

/// Two CPUs that this process may run on: one for the client, one for the server.
#[cfg(target_os = "linux")]
pub fn two_cpus() -> Option<(usize, usize)> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let usable = sched_getaffinity(None).ok()?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| usable.is_set(cpu));
    Some((cpus.next()?, cpus.next()?))
}

/// Pins this thread, and the threads that it will start, to a CPU.
#[cfg(target_os = "linux")]
pub fn pin(cpu: usize) -> Result<(), Failure> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &cpus)?)
}

#[cfg(windows)]
pub use crate::floor::{pin, two_cpus};

#[cfg(not(any(target_os = "linux", windows)))]
pub fn two_cpus() -> Option<(usize, usize)> {
    None
}

#[cfg(not(any(target_os = "linux", windows)))]
pub fn pin(_cpu: usize) -> Result<(), Failure> {
    Err("threads cannot be kept to a CPU on this system".into())
}

/// Raises this process's soft limit of open descriptors to the hard limit, and returns the hard limit.
#[cfg(unix)]
pub fn allow_many_descriptors() -> Result<u64, Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

#[cfg(not(unix))]
pub fn allow_many_descriptors() -> Result<u64, Failure> {
    Ok(u64::MAX)
}

/// The resident memory of this process in bytes. `None` on systems that do not report it in a file.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
