//! CPU time of processes, from /proc: of this one, and of the node that is measured.

use corelith_client::{Client, Error};

/// Clock ticks a second of /proc/PID/stat: fixed at 100 in the kernel's interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that a process has used, user and system together, in ns. Counts in steps of 10 ms.
pub fn of_process(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks_of(&stat).map(|ticks| ticks * (1_000_000_000 / TICKS_PER_SECOND))
}

/// CPU time that this thread has used, in ns, to the nanosecond.
pub fn of_this_thread() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// utime and stime: fields 14 and 15, counted after the name, which may hold spaces.
fn ticks_of(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// How long a node's cores have spun for want of work so far, in ns, as the node tells.
pub async fn spun_by(client: &Client) -> Result<u64, Error> {
    let page = client
        .statistics("corelith_ring_spin_seconds_total")
        .await?;
    let figures = page.lines().filter(|line| !line.starts_with('#'));
    let seconds = figures.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok((seconds.sum::<f64>() * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
        assert_eq!(ticks_of(stat), Some(42));
    }

    #[test]
    fn this_process_has_used_time() {
        assert!(of_process(std::process::id()).is_some());
        assert!(of_this_thread().is_some_and(|ns| ns > 0));
    }
}
