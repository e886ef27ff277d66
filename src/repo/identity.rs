//! Who holds a mark, as others can judge it: written into the name of a file.

use std::fmt;
use std::str::FromStr;

use crate::fs;

/// A process, and the machine that it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Machine id and host name together: machines that were cloned share the first.
    machine: String,
    boot: String,
    /// Of its process number; containers of one machine have their own.
    namespace: u64,
    pub pid: u32,
    /// When it began, in the kernel's own ticks: a later process of the same number has another one.
    start: u64,
    /// For people.
    pub host: String,
}

/// What is known of a process elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs on this machine.
    Runs,
    /// It has ended: it is not in this machine's table, or this machine has booted since.
    Gone,
    /// Another machine's, or another container's: only watching tells.
    Unknown,
}

const HOST_LIMIT: usize = 63;

impl Identity {
    pub(super) fn own() -> Self {
        let (machine, boot, host) = (fs::machine_id(), fs::boot_id(), fs::host_name());
        // Without an id nothing but this boot proves that it is the same machine.
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

    /// What `own` can tell of this process.
    pub(super) fn life(&self, own: &Self) -> Life {
        if self.machine != own.machine {
            Life::Unknown
        } else if self.boot != own.boot {
            Life::Gone
        } else if self.namespace != own.namespace {
            Life::Unknown
        } else if fs::process_is_gone(self.pid, self.start) {
            Life::Gone
        } else {
            Life::Runs
        }
    }

    /// Whether both are one process.
    pub(super) fn is_same_process(&self, other: &Self) -> bool {
        Self { host: String::new(), ..self.clone() } == Self { host: String::new(), ..other.clone() }
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

/// 64 bits as text: names are no secret, and short.
fn short(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}.{}.{}", self.machine, self.boot, self.namespace, self.pid, self.start, self.host)
    }
}

impl FromStr for Identity {
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
    use super::{Identity, Life};

    #[test]
    fn an_identity_reads_back_as_it_was_written() {
        let own = Identity::own();
        assert_eq!(own.to_string().parse(), Ok(own.clone()));
        let dotted = Identity { host: "ch7.example.org".to_owned(), ..own };
        assert_eq!(dotted.to_string().parse(), Ok(dotted));
        assert_eq!("garbage".parse::<Identity>(), Err(()));
        assert_eq!("0.0.0.0.0.x".parse::<Identity>(), Err(()));
    }

    #[test]
    fn only_what_this_machine_knows_is_called_gone() {
        let own = Identity::own();
        let gone = Identity { start: own.start + 1, ..own.clone() };
        let other = |change: fn(&mut Identity)| {
            let mut other = gone.clone();
            change(&mut other);
            other.life(&own)
        };
        assert_eq!(own.life(&own), Life::Runs);
        assert_eq!(gone.life(&own), Life::Gone);
        assert_eq!(other(|of| of.boot = "0123456789abcdef".to_owned()), Life::Gone, "it has booted since");
        assert_eq!(other(|of| of.namespace += 1), Life::Unknown, "another container's");
        assert_eq!(other(|of| of.machine = "0123456789abcdef".to_owned()), Life::Unknown, "another machine's");
    }
}
