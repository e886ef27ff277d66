//! Calls to the server of an NFS mount, as its client counts them in `/proc/self/mountstats`.

use std::collections::BTreeMap;
use std::path::Path;

/// How often each call of the protocol was sent, by its name.
pub type Calls = BTreeMap<String, i64>;

/// The calls that were sent so far to the server of the mount that holds a folder; none if that is no NFS mount.
pub fn calls(folder: &Path) -> Option<Calls> {
    let text = std::fs::read_to_string("/proc/self/mountstats").ok()?;
    let (mut found, mut longest) = (None, 0);
    for mount in text.split("device ").skip(1) {
        let (head, lines) = mount.split_once('\n').unwrap_or((mount, ""));
        let place = head.split(" mounted on ").nth(1).and_then(|rest| rest.split(" with ").next()).unwrap_or_default();
        if !head.contains("fstype nfs") || !folder.starts_with(place) || place.len() < longest {
            continue;
        }
        longest = place.len();
        let operations = lines.split("per-op statistics").nth(1).unwrap_or_default().lines();
        let count = |line: &str| -> Option<(String, i64)> {
            let (name, numbers) = line.trim().split_once(": ")?;
            Some((name.to_owned(), numbers.split(' ').next()?.parse().ok()?))
        };
        found = Some(operations.filter_map(count).collect());
    }
    found
}

/// `more` without `less`.
pub fn difference(mut more: Calls, less: &Calls) -> Calls {
    for (name, count) in less {
        *more.entry(name.clone()).or_default() -= count;
    }
    more.retain(|_, count| *count != 0);
    more
}
