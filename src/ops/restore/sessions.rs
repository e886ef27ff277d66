//! Sessions in Keeper that outlive their servers: Keeper treats the replicas of a killed server as active until its
//! session is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::plan::{AttachedReplica, KeeperPath, KeeperReplica};
use crate::server;

/// The longest time that a session outlives its server, with the default configuration (`session_timeout_ms` of
/// `<zookeeper>`), and the interval at which Keeper is asked.
const SESSION: Duration = Duration::from_secs(32);
const POLL: Duration = Duration::from_millis(500);
/// How long a replica may take to become active after its first node appears in Keeper.
const BEGINS: Duration = Duration::from_secs(6);

/// Waits as long as the treatment of a table to be created at one of these places depends on a session that may be
/// over. Updates what is known of the paths, with `look`. A session that does not end in time counts as alive.
pub(super) fn wait_for_sessions(
    look: &dyn Fn(&str) -> KeeperPath,
    places: Vec<AttachedReplica>,
    paths: &mut BTreeMap<String, KeeperPath>,
) {
    let begun = Instant::now();
    let mut reachable: BTreeMap<String, bool> = BTreeMap::new();
    let mut waiting = places;
    loop {
        let elapsed = begun.elapsed();
        waiting.retain(|place| {
            let Some(KeeperPath::Table(replicas)) = paths.get(&place.path) else { return false };
            let mut is_reachable =
                |host: &str| *reachable.entry(host.to_owned()).or_insert_with(|| server::is_reachable(host));
            depends_on_session(place, replicas, &mut is_reachable) || elapsed < BEGINS && is_begun(place, replicas)
        });
        if waiting.is_empty() || elapsed > SESSION {
            return;
        }
        std::thread::sleep(POLL);
        for place in &waiting {
            paths.insert(place.path.clone(), look(&place.path));
        }
    }
}

/// The state of the path of a table to be created, once a replica that another restore is creating there is active, or the
/// time for that is over.
pub(super) fn wait_for_begun(look: &dyn Fn() -> KeeperPath, place: &AttachedReplica) -> KeeperPath {
    let begun = Instant::now();
    loop {
        let now = look();
        let waits = matches!(&now, KeeperPath::Table(replicas) if is_begun(place, replicas));
        if !waits || begun.elapsed() > BEGINS {
            return now;
        }
        std::thread::sleep(POLL);
    }
}

/// Whether another replica may be being created right now, for example by another restore: it has nodes, no part, and no
/// session yet.
fn is_begun(place: &AttachedReplica, replicas: &[KeeperReplica]) -> bool {
    let is_new = |replica: &KeeperReplica| replica.name != place.name && replica.parts == 0;
    !replicas.iter().any(|replica| replica.is_active) && replicas.iter().any(is_new)
}

/// Whether the decision depends on a session that may be over: that of this server, although it does not have the
/// table, or those of all active replicas, if none of their hosts can be reached.
fn depends_on_session(
    place: &AttachedReplica,
    replicas: &[KeeperReplica],
    is_reachable: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let mut active = replicas.iter().filter(|replica| replica.is_active);
    if active.clone().any(|replica| replica.name == place.name) {
        return true;
    }
    let has_active = active.clone().next().is_some();
    has_active && !active.any(|replica| replica.host.as_deref().is_none_or(&mut *is_reachable))
}

#[cfg(test)]
mod tests {
    use super::{depends_on_session, is_begun};
    use crate::plan::{AttachedReplica, KeeperReplica};

    #[test]
    fn a_session_is_in_doubt_if_only_it_decides_and_nothing_else_confirms_it() {
        let place =
            AttachedReplica { path: "/t".to_owned(), name: "r1".to_owned(), is_readonly: false, is_detached: false };
        let replica = |name: &str, host: &str, is_active: bool| KeeperReplica {
            name: name.to_owned(),
            host: Some(host.to_owned()),
            is_active,
            parts: 1,
        };
        let doubted = |replicas: &[KeeperReplica]| depends_on_session(&place, replicas, &mut |host| host == "up");
        assert!(!doubted(&[]) && !doubted(&[replica("r2", "down", false)]), "nothing is active");
        assert!(doubted(&[replica("r1", "up", true)]), "its own, from before a restart");
        assert!(doubted(&[replica("r1", "up", true), replica("r2", "up", true)]));
        assert!(doubted(&[replica("r2", "down", true), replica("r3", "down", true)]));
        assert!(!doubted(&[replica("r2", "down", true), replica("r3", "up", true)]), "one that answers is enough");
        let unnamed = KeeperReplica { host: None, ..replica("r2", "", true) };
        assert!(!doubted(&[unnamed]), "what cannot be asked is believed");
        let begun = KeeperReplica { host: None, is_active: false, parts: 0, ..replica("r2", "", false) };
        assert!(
            is_begun(&place, std::slice::from_ref(&begun)) && !is_begun(&place, &[begun, replica("r3", "up", true)])
        );
        let addressed = KeeperReplica { parts: 0, ..replica("r2", "up", false) };
        assert!(is_begun(&place, &[addressed]), "its address comes before its session");
        assert!(!is_begun(&place, &[replica("r2", "down", false)]), "a lost one has parts");
        assert!(!is_begun(&place, &[KeeperReplica { parts: 0, ..replica("r1", "up", false) }]), "its own");
    }
}
