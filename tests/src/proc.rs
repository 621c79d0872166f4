//! What the kernel tells about a process.

use anyhow::{Context as _, Result};

/// Resident memory in MB.
pub fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a running process has VmRSS")?;
    let kb: f64 = line.split_whitespace().nth(1).context("VmRSS has a value")?.parse()?;
    Ok(kb / 1024.0)
}

/// CPU time used so far, user and system, all threads, in seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; the fields after it do not.
    let fields: Vec<&str> = stat.rsplit_once(')').context("stat has a name")?.1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}
