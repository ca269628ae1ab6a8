//! What the machine itself costs: a sync of the file system, the CPU time of a process.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Result, Trouble};

/// Appended before each sync: about the frame of one small update.
const APPENDED_BYTES: usize = 256;

/// Appends to a new file and syncs its data so many times; the durations of the syncs alone, shortest first.
pub fn sync_times(directory: &Path, count: usize) -> Result<Vec<Duration>> {
    let path = directory.join("sync-times");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        file.write_all(&[1; APPENDED_BYTES])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times)
}

/// User and system time of a process that lives.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    // `/proc/PID/schedstat` is of the main thread only.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|error| Trouble(format!("process {pid} has ended: {error}")))?;
    let mut total = Duration::ZERO;
    for task in tasks {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            // The thread has ended meanwhile.
            continue;
        };
        let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
        let unknown = || Trouble(format!("`{text}` is not a thread's time on the CPU"));
        total += Duration::from_nanos(nanoseconds.ok_or_else(unknown)?);
    }
    Ok(total)
}

/// True for a process that is gone, or that only waits to be reaped.
pub fn has_ended(pid: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The state comes after the name, which is in parentheses and may contain anything.
    let state = text.rsplit(") ").next();
    state.is_some_and(|state| state.starts_with('Z'))
}

/// Resident memory of a process that lives.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let unknown = || Trouble(format!("{path} tells no resident memory"));
    Ok(kilobytes.ok_or_else(unknown)? * 1024)
}

/// Bytes that the file system has given to all files below a directory.
pub fn disk_bytes(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            about.blocks() * 512
        };
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_the_cpu_and_memory() {
        let me = std::process::id();
        assert!(cpu_time(me).unwrap() > Duration::ZERO);
        assert!(resident_bytes(me).unwrap() > 0);
        assert!(cpu_time(0).is_err());
        assert!(!has_ended(me) && has_ended(0));
    }

    #[test]
    fn syncs_are_timed_and_files_are_counted_at_any_depth() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(sync_times(directory.path(), 3).unwrap().len(), 3);
        assert_eq!(disk_bytes(directory.path()).unwrap(), 0);
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/b"), [1; 10_000]).unwrap();
        assert!(disk_bytes(directory.path()).unwrap() >= 10_000);
    }
}
