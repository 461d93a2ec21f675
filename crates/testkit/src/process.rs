//! Server processes of tests: a free port, a signal, an end.

use std::net::TcpListener;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the start of a server, or the answer to a command, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago. Another process may take it: who binds it tries again with the next.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends a signal to a process and to all that it has started.
pub(crate) fn signal(child: &Child, signal: Signal) {
    for pid in family(child.id()) {
        // Some of them may have ended meanwhile.
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// Stops a process and all that it has started, as a host that hangs would, and returns when none of their threads runs any
/// more: the signal alone is on its way for a while, and a busy thread still answers.
///
/// # Panics
/// When one doesn't stop within a minute.
pub fn freeze(root: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What is started meanwhile too.
        let family = family(root);
        for pid in &family {
            kill(Pid::from_raw(*pid), Signal::SIGSTOP).ok();
        }
        if family.into_iter().all(is_stopped) {
            return;
        }
        assert!(Instant::now() < deadline, "process {root} did not stop within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether no thread of a process can run: it is stopped, or has ended.
fn is_stopped(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { return true };
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 'Z', 'X']))
    })
}

/// The process and its descendants. Servers put theirs into sessions of their own, where no group reaches them.
fn family(root: u32) -> Vec<i32> {
    let stat = |pid: i32| -> Option<(i32, i32)> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let mut rest = text.rsplit(") ").next()?.split(' ').skip(1);
        Some((pid, rest.next()?.parse().ok()?))
    };
    let all: Vec<_> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut family = vec![i32::try_from(root).unwrap()];
    let mut at = 0;
    while at < family.len() {
        let of = family[at];
        family.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// Kills a process and all that it has started, and waits for its end.
pub(crate) fn kill_all(child: &mut Child) {
    signal(child, Signal::SIGKILL);
    child.wait().ok();
}

/// Waits until `ready`; false when the process has ended instead.
pub(crate) fn gets_ready(child: &mut Child, what: &str, ready: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if ready() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not get ready within {PATIENCE:?}");
}
