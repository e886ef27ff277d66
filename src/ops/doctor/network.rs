//! A repository on a network filesystem: what this host can see of its mount and its export.

use crate::fs::{self, Mount};

use super::Findings;

/// Exports of this host, as `exportfs` keeps them (`exportfs(8)`): a path, then clients with options in brackets.
const EXPORTS: &str = "/var/lib/nfs/etab";

/// Examines a mount. `what` describes what is stored there.
pub(super) fn examine(mount: &Mount, what: &str, findings: &mut Findings) {
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    if !mount.filesystem.starts_with("nfs") {
        return findings.ok("mount", format!("{what}, a network filesystem"));
    }
    if let Some(soft) = ["soft", "softerr"].into_iter().find(|name| has(name)) {
        return findings.warn(
            "mount",
            format!("{what}, which is mounted {soft}: a server that is slow for a while fails the run in the middle"),
            "mount it hard, so that a run waits for its server and continues",
        );
    }
    let exports = if is_here(mount) { std::fs::read_to_string(EXPORTS).unwrap_or_default() } else { String::new() };
    if is_async(&exports, exported_path(mount)) {
        return findings.warn(
            "mount",
            format!(
                "{what}, which is exported async: data that was reported as durable may be lost when the server fails"
            ),
            "export it sync (exports(5)), then exportfs -ra",
        );
    }
    let unseen = if exports.is_empty() { "; exportfs -v on the server tells whether it is exported sync" } else { "" };
    findings.ok("mount", format!("{what}, a network filesystem{unseen}"));
}

fn exported_path(mount: &Mount) -> &str {
    mount.source.rsplit_once(':').map_or("", |(_, path)| path)
}

/// Whether this host is the NFS server.
fn is_here(mount: &Mount) -> bool {
    let host = mount.source.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host == "::1" || host.starts_with("127.") || host == fs::host_name()
}

/// Whether an export that may be `path` is `async`. NFS 4 names a mount from its own root, so only the end is compared.
fn is_async(exports: &str, path: &str) -> bool {
    exports.lines().any(|line| {
        let Some((exported, clients)) = line.split_once(char::is_whitespace) else { return false };
        let options = clients.split(['(', ')', ',', ' ']);
        let is_it = exported.ends_with(path.trim_end_matches('/')) || path.starts_with(exported);
        is_it && options.into_iter().any(|option| option == "async")
    })
}

#[cfg(test)]
mod tests {
    use super::is_async;

    #[test]
    fn an_async_export_is_reported_if_this_host_is_the_server() {
        let exports = "/srv/a\t127.0.0.1(rw,async,wdelay)\n/srv/b\t*(rw,sync,async_not)\n";
        assert!(is_async(exports, "/srv/a"));
        assert!(is_async(exports, "/srv/a/below"));
        assert!(is_async(exports, "/a"), "named from the root of NFS 4");
        assert!(!is_async(exports, "/srv/b"));
        assert!(!is_async("", "/srv/a"));
    }
}
