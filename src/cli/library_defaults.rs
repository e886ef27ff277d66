//! Tests that a command line without options makes the same request as the library's defaults.

use chrono::Utc;
use chsnap::ops::create;
use chsnap::ops::nightly::NightlyJob;
use chsnap::ops::prune::PruneRequest;
use chsnap::ops::restore::{ToDirectory, ToServer};
use chsnap::ops::verify;
use chsnap::plan::retention::Policy;
use chsnap::repo::Repository;
use chsnap::server::ConnectOptions;
use clap::Parser as _;

use super::globals::{DEFAULT_URL, Globals};
use super::{Cli, Command, opening};

/// The request of a command line, with a repository of its own.
fn parsed(words: &[&str]) -> (tempfile::TempDir, Repository, Globals, Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let repository = chsnap::ops::init(&folder.path().join("repo"), Utc::now(), &chsnap::real()).expect("a repository");
    let Cli { globals, command } = Cli::parse_from(["chsnap", "--jobs", "3"].iter().chain(words));
    (folder, repository, globals, command)
}

#[test]
fn create_and_verify_and_prune() {
    let (_folder, repository, globals, command) = parsed(&["create"]);
    let Command::Create(args) = command else { panic!("another command") };
    let asked = args.request(&globals, &repository);
    assert_eq!(format!("{asked:?}"), format!("{:?}", create::Request::new().with_jobs(3)));

    let (_folder, repository, globals, command) = parsed(&["verify"]);
    let Command::Verify(args) = command else { panic!("another command") };
    let Ok(asked) = args.request(&globals, &repository) else { panic!("refused") };
    assert_eq!(format!("{asked:?}"), format!("{:?}", verify::Request::new().with_jobs(3)));

    let (_folder, repository, globals, command) = parsed(&["prune", "--free", "1KiB"]);
    let Command::Prune(args) = command else { panic!("another command") };
    let Ok(rules) = args.rules(&globals) else { panic!("refused") };
    let asked = args.request(&rules, &globals, &repository);
    let usual = PruneRequest::new(Policy::default()).with_free_bytes(Some(1024)).with_jobs(3);
    assert_eq!(format!("{asked:?}"), format!("{usual:?}"));
}

#[test]
fn run_and_restore() {
    let (_folder, _repository, _globals, command) = parsed(&["run"]);
    let Command::Run(args) = command else { panic!("another command") };
    assert_eq!(args.job(false), NightlyJob::new());

    let (_folder, _repository, _globals, command) = parsed(&["restore", "latest"]);
    let Command::Restore(args) = command else { panic!("another command") };
    let (server, directory) = (ToServer::new(Utc::now()), ToDirectory::new("/nowhere", Utc::now()));
    assert_eq!(format!("{:?}", args.options()), format!("{:?}", server.options));
    assert_eq!(args.access(), server.access);
    assert_eq!(args.layout(), directory.layout);
    for wanted in [server.wanted, directory.wanted] {
        assert_eq!(format!("{:?}", args.wanted()), format!("{wanted:?}"));
    }
}

#[test]
fn deadlines_of_a_server() {
    let (_folder, _repository, globals, _command) = parsed(&["list"]);
    let Ok(options) = opening::options(&globals, std::sync::Arc::default()) else { panic!("refused") };
    let usual = ConnectOptions::new(DEFAULT_URL);
    assert_eq!(options.query_deadline, usual.query_deadline);
    assert_eq!(options.freeze_deadline, usual.freeze_deadline);
    assert_eq!(options.ca_file, usual.ca_file);
}
