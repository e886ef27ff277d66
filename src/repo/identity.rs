//! The holder of a mark in a form that others can judge: encoded in the name of a file.

use std::fmt;
use std::str::FromStr;

use crate::fs;

/// A process, and the machine on which it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessIdentity {
    /// Machine id and host name together, because cloned machines share the machine id.
    machine: String,
    boot: String,
    /// The namespace of its process number; containers on one machine have their own.
    namespace: u64,
    pub pid: u32,
    /// Its start in the kernel's own ticks: a later process with the same number has another start.
    start: u64,
    /// For display.
    pub host: String,
}

/// The known state of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessState {
    /// It runs on this machine.
    Runs,
    /// It has ended: it is not in this machine's table, or this machine has booted since.
    Gone,
    /// It belongs to another machine or container: only watching its mark shows whether it is alive.
    Unknown,
}

const HOST_LIMIT: usize = 63;

impl ProcessIdentity {
    pub(super) fn own() -> Self {
        let (machine, boot, host) = (fs::machine_id(), fs::boot_id(), fs::host_name());
        // Without an id, only the boot proves that it is the same machine.
        let machine = if machine.is_empty() { format!("boot {boot}") } else { machine };
        let pid = std::process::id();
        Self {
            machine: short(&format!("{machine}\n{host}")),
            boot: short(&boot),
            namespace: fs::process_namespace(),
            pid,
            start: fs::process_start(pid),
            host: host.chars().filter(|letter| is_plain(*letter)).take(HOST_LIMIT).collect(),
        }
    }

    /// The identity that `own` can determine for this process.
    pub(super) fn life(&self, own: &Self) -> ProcessState {
        if self.machine != own.machine {
            ProcessState::Unknown
        } else if self.boot != own.boot {
            ProcessState::Gone
        } else if self.namespace != own.namespace {
            ProcessState::Unknown
        } else if fs::process_is_gone(self.pid, self.start) {
            ProcessState::Gone
        } else {
            ProcessState::Runs
        }
    }

    /// Whether both are the same process.
    pub(super) fn is_same_process(&self, other: &Self) -> bool {
        Self { host: String::new(), ..self.clone() } == Self { host: String::new(), ..other.clone() }
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

/// 64 bits as text: names are not secret, and this keeps them short.
fn short(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}.{}.{}", self.machine, self.boot, self.namespace, self.pid, self.start, self.host)
    }
}

impl FromStr for ProcessIdentity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut fields = text.splitn(6, '.');
        let mut next = || fields.next().ok_or(());
        let hash = |text: &str| {
            let is_hash = text.len() == 16 && text.bytes().all(|letter| letter.is_ascii_hexdigit());
            is_hash.then(|| text.to_owned()).ok_or(())
        };
        Ok(Self {
            machine: hash(next()?)?,
            boot: hash(next()?)?,
            namespace: next()?.parse().map_err(drop)?,
            pid: next()?.parse().map_err(drop)?,
            start: next()?.parse().map_err(drop)?,
            host: next()?.chars().filter(|letter| is_plain(*letter)).take(HOST_LIMIT).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ProcessIdentity, ProcessState};

    #[test]
    fn an_identity_reads_back_as_it_was_written() {
        let own = ProcessIdentity::own();
        assert_eq!(own.to_string().parse(), Ok(own.clone()));
        let dotted = ProcessIdentity { host: "ch7.example.org".to_owned(), ..own };
        assert_eq!(dotted.to_string().parse(), Ok(dotted));
        assert_eq!("garbage".parse::<ProcessIdentity>(), Err(()));
        assert_eq!("0.0.0.0.0.x".parse::<ProcessIdentity>(), Err(()));
    }

    #[test]
    fn only_processes_of_this_machine_are_reported_as_gone() {
        let own = ProcessIdentity::own();
        let gone = ProcessIdentity { start: own.start + 1, ..own.clone() };
        let other = |change: fn(&mut ProcessIdentity)| {
            let mut other = gone.clone();
            change(&mut other);
            other.life(&own)
        };
        assert_eq!(own.life(&own), ProcessState::Runs);
        assert_eq!(gone.life(&own), ProcessState::Gone);
        assert_eq!(other(|of| of.boot = "0123456789abcdef".to_owned()), ProcessState::Gone, "it has booted since");
        assert_eq!(other(|of| of.namespace += 1), ProcessState::Unknown, "another container's");
        assert_eq!(other(|of| of.machine = "0123456789abcdef".to_owned()), ProcessState::Unknown, "another machine's");
    }
}
