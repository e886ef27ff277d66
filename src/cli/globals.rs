//! Options that are accepted before or after any command.

use std::path::PathBuf;
use std::time::Duration;

use chsnap::exec;
use chsnap::model::{PathMap, PathRule};
use chsnap::plan::SeriesKey;
use chsnap::repo::Repository;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::policy::RuleSources;

/// Whether to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How progress is shown, on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressMode {
    /// Bars on a terminal; elsewhere a line for each stage that did something, and one every 30 s.
    Auto,
    /// A line at the start and the end of every stage, and one every 30 s.
    Plain,
    /// One JSON event per line.
    Json,
    /// Nothing.
    None,
}

/// The address of a server with the default configuration.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8123";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Globals {
    /// The repository's directory
    #[arg(long, short = 'r', global = true, env = "CHSNAP_REPO", value_name = "DIR", value_parser = path())]
    pub(super) repo: Option<PathBuf>,
    /// ClickHouse's HTTP interface
    #[arg(long, global = true, env = "CHSNAP_URL", hide_env_values = true, value_name = "URL", default_value = DEFAULT_URL)]
    pub(super) url: String,
    /// ClickHouse user; the password comes from CHSNAP_PASSWORD or --password-file
    #[arg(long, global = true, env = "CHSNAP_USER", value_name = "NAME")]
    pub(super) user: Option<String>,
    /// File with the password; a trailing newline is ignored
    #[arg(long, global = true, env = "CHSNAP_PASSWORD_FILE", value_name = "FILE", value_parser = path())]
    pub(super) password_file: Option<PathBuf>,
    /// Whether the command line itself names that file, which then overrides CHSNAP_PASSWORD
    #[arg(skip)]
    pub(super) password_file_is_named: bool,
    /// Read this configuration file, and no other
    #[arg(long, global = true, env = "CHSNAP_CONFIG", value_name = "FILE", value_parser = path())]
    pub(super) config: Option<PathBuf>,
    /// Use the settings in [profile.PROFILE] of the configuration files
    #[arg(long, global = true, env = "CHSNAP_PROFILE", value_name = "PROFILE")]
    pub(super) profile: Option<String>,
    /// Profiles that the configuration files have.
    #[arg(skip)]
    pub(super) known_profiles: Vec<String>,
    /// The selection that is configured for `create`, if one is.
    #[arg(skip)]
    pub(super) main_series: Option<SeriesKey>,
    /// Where the rules of retention come from.
    #[arg(skip)]
    pub(super) rules: RuleSources,
    /// The series that latest, lists and reports refer to: its name as in list --json, or a snapshot in it [default:
    /// the main one]
    #[arg(long, global = true, value_name = "SERIES")]
    pub(super) series: Option<String>,
    /// PEM certificates to trust for https:// instead of the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// Where a directory of the server is on this host, for a server in a container:
    /// /var/lib/clickhouse=/srv/clickhouse
    #[arg(long, global = true, env = "CHSNAP_PATH_MAP", value_name = "SERVER=HERE", value_delimiter = ',')]
    path_map: Vec<PathRule>,
    /// How long one query other than FREEZE may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) query_timeout: Duration,
    /// How long one FREEZE may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(super) freeze_timeout: Duration,
    /// How long to wait while another process holds the repository's lock
    #[arg(long, global = true, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(super) lock_wait: Duration,
    /// Give up when the repository's filesystem has not responded for this long, for example because an NFS server is
    /// down; 0 waits forever
    #[arg(long, global = true, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub(super) storage_timeout: Duration,
    /// Threads for filesystem work [default: twice the number of cores, at most 16 more than the cores; on a network
    /// filesystem 24 or the number of cores, whichever is more; for diff live and doctor the number of cores]
    #[arg(long, short = 'j', global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print the result as one JSON document on stdout, and an error as one on stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print warnings and errors only: no progress, no notes
    #[arg(long, short = 'q', global = true)]
    pub(super) quiet: bool,
    /// Also show queries to the server (-v), and more (-vv)
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// How progress is shown, on stderr
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    pub(super) progress: ProgressMode,
    /// When to use color; NO_COLOR turns it off for auto
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: When,
}

/// A path that may be empty: an environment variable that is set to the empty string is not a path, and not an error
/// either.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// `90`, `90s`, `10m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error} (write 90s, 10m or 1h)"))
}

/// `1048576`, `500M`, `20GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size::Config::new().with_binary().parse_size(text).map_err(|error| format!("{error} (write 500M or 20GiB)"))
}

impl Globals {
    /// Records what a value alone does not show: where it came from.
    pub(super) fn note_sources(&mut self, found: &clap::ArgMatches, profiles: Vec<String>) {
        self.known_profiles = profiles;
        let inner = found.subcommand().map_or(found, |(_, inner)| inner);
        self.password_file_is_named =
            inner.value_source("password_file") == Some(clap::parser::ValueSource::CommandLine);
    }

    pub(super) fn paths(&self) -> PathMap {
        PathMap::new(self.path_map.clone())
    }

    /// The number of threads for reading the server's own disks: about the number of cores; more gain nothing there.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.map_or_else(exec::cores, usize::from)
    }

    /// The number of threads for work on a repository, by the kind of its filesystem.
    pub(super) fn jobs_for(&self, repository: &Repository) -> usize {
        self.jobs.map_or_else(|| exec::usual_jobs(repository.dir()), usize::from)
    }
}
