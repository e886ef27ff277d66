//! Shared code of the tests and benchmarks.
//!
//! | module | gives |
//! |---|---|
//! | [`bench`] | what the benchmarks share |
//! | [`chsnap_command`] | the program, run with an environment of its own |
//! | [`engine`] | a real ClickHouse server, 18.16 or 26.9 |
//! | [`cluster_lab`], [`keeper`] | two replicas of one, and the ZooKeeper that they need |
//! | [`freezer`] | an HTTP server that answers and freezes as ClickHouse does, for faults at every call |
//! | [`front`] | a proxy before a real server that answers some queries itself |
//! | [`world`] | a freezer, its data and a repository, with `create` through the library |
//! | [`object_store`] | servers of the protocols of object stores, one in a table each |
//! | [`counting_proxy`] | requests and bytes as an HTTP server gets them |
//! | [`fault_proxy`] | a proxy before an HTTP server that fails as networks and stores do |
//! | [`store`], [`hoard`] | repositories of made-up parts: with real checksums, or with many snapshots |
//! | [`faulty`], [`recorder`], [`replay`] | changes of the filesystem that fail, or are recorded and replayed in part |
//! | [`strace`] | kills and errors at any system call of a process |
//! | [`passthrough`], [`small_disk`] | a FUSE filesystem that fails on demand, and a small ext4 |
//! | [`nfs_calls`] | calls to an NFS server, as its client counts them |
//! | [`schemas`] | documents compared with the schemas in docs/schema |
//! | [`tls`] | a proxy that speaks TLS |
//! | [`tree`], [`saved`] | a directory tree as a value that can be compared, and one that is put back |

use std::path::{Path, PathBuf};

pub mod bench;
pub mod chsnap_command;
pub mod cluster_lab;
pub mod counting_proxy;
pub mod engine;
pub mod fault_proxy;
pub mod faulty;
pub mod folders;
pub mod freezer;
pub mod front;
pub mod hoard;
pub mod keeper;
pub mod nfs_calls;
pub mod object_store;
pub mod passthrough;
pub mod recorder;
pub mod replay;
pub mod saved;
pub mod schemas;
pub mod small_disk;
pub mod store;
pub mod strace;
pub mod tls;
pub mod tree;
pub mod world;

/// The root of the checkout.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("tests/support is in a checkout")
}

/// The program under test: it is in the directory above that of the test programs.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let profile = own.ancestors().nth(2).expect("a test program is in deps/");
    profile.join("chsnap")
}
