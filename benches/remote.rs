//! How long a push to an S3 server on the loopback takes, compared with a plain parallel PUT of the same bytes and with
//! restic, and what a night with 2 % new sends.
//!
//! ```text
//! cargo bench --features remote --bench remote -- [--parts 200] [--large 4194304] [--rounds 3] [--output docs/benchmark-results.md]
//! ```
//!
//! The server is that of the tests (`tests/support/engines/install stores`), which is written in Python and so is most of
//! the time: the relations tell more than the seconds. Requests and bytes are counted by a proxy in front of it. restic
//! (Debian's package) backs up the table's directory, with as many connections, as it was installed: compressed where its
//! version does that, and with an empty cache of its own. Its lines say so where it is not installed. Nothing here fails
//! for being slow.

#![expect(clippy::indexing_slicing, reason = "a benchmark that indexes wrongly stops")]
#![expect(clippy::print_stdout, reason = "this program answers a person")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;

use testkit::bench::program::CommonArgs;
use testkit::bench::section::{Spread, thousands};
use testkit::bench::{machine, measure, program};
use testkit::chsnap_command::Chsnap;
use testkit::counting_proxy::{Counted, CountingProxy};
use testkit::object_store::{KEY, ObjectServer, SECRET};
use testkit::store::{Store, bytes, part_of};

#[derive(Debug, Parser)]
#[command(about = "Times chsnap push against a plain parallel PUT and against restic")]
struct Args {
    /// Parts of the first night
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    parts: u64,
    /// Bytes of the one large file of each part
    #[arg(long, default_value_t = 4 << 20)]
    large: usize,
    /// Small files of each part, of 8 KiB
    #[arg(long, default_value_t = 20)]
    small: u64,
    /// Requests that are on their way at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Measured runs, each into a bucket of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    common: CommonArgs,
}

/// One part in this number is new in the second night.
const NEW_SHARE: u64 = 50;
const SMALL_BYTES: usize = 8 << 10;

fn main() {
    let Some(args) = program::arguments(|args: &Args| &args.common) else { return };
    let mut text = format!("{}.\n", machine::describe(&std::env::temp_dir()));
    let rounds: Vec<Round> = (0..args.rounds).map(|round| measured(&args, round)).collect();
    table(&args, &rounds, &mut text).expect("a String takes everything");
    program::finish(&text, &args.common, "remote");
}

/// Seconds, with the requests and bytes that the store counted.
#[derive(Debug)]
struct Sent {
    seconds: f64,
    counted: Counted,
}

/// What a round measured: of chsnap and of restic the first night and the one after it.
#[derive(Debug)]
struct Round {
    plain: Sent,
    push: [Sent; 2],
    restic: Option<[Sent; 2]>,
    /// Bytes of the new parts of the second night, and of the manifest that it wrote.
    new_bytes: u64,
    manifest_bytes: u64,
}

fn measured(args: &Args, round: u32) -> Round {
    let server = ObjectServer::s3().unwrap_or_else(|missing| panic!("{missing}"));
    let proxy = CountingProxy::start(server.port);
    let folder = tempfile::tempdir().expect("a folder");
    let host = Store::within(folder.path());
    let seed = u64::from(round) << 32;
    let mut new_bytes = add_parts(&host, 1..=args.parts, args, seed);
    let endpoint = format!("endpoint=http://127.0.0.1:{}&region=us-east-1", proxy.port);
    let chsnap = Chsnap::new(&host.repo()).env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    let address = format!("s3://bucket/chsnap?{endpoint}");
    // The objects that a push sends, made once in a directory: the plain PUT sends the same bytes.
    host.snapshot();
    let local = folder.path().join("objects");
    chsnap.expect(0, &["push", "latest", "--to", text_of(&local)]);
    let objects = files_below(&local.join("objects"));
    proxy.take();
    let plain = plain_put(&objects, proxy.port, args.parallel.into());
    let plain = Sent { seconds: plain, counted: proxy.take() };
    let restic = |arguments: &[&str]| {
        let mut command = Command::new("restic");
        command.env("RESTIC_PASSWORD", "x").env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_DEFAULT_REGION", "us-east-1").env("RESTIC_CACHE_DIR", folder.path().join("restic-cache"));
        command.args(["-q", "-r", &format!("s3:http://127.0.0.1:{}/bucket/restic", proxy.port)]);
        command.args(["-o", &format!("s3.connections={}", args.parallel)]).args(arguments);
        timed(&command)
    };
    let has_restic = restic_version().is_some();
    if has_restic {
        restic(&["init"]);
    }
    let (mut by_push, mut by_restic) = (Vec::new(), Vec::new());
    let mut manifest_bytes = 0;
    for night in 0..2 {
        if night == 1 {
            let new = args.parts + 1..=args.parts + (args.parts / NEW_SHARE).max(1);
            new_bytes = add_parts(&host, new, args, seed);
            host.snapshot();
        }
        proxy.take();
        let parallel = args.parallel.to_string();
        let push = chsnap.command(&[
            "--json",
            "--progress",
            "none",
            "push",
            "latest",
            "--to",
            &address,
            "--parallel",
            &parallel,
        ]);
        let seconds = timed(&push);
        by_push.push(Sent { seconds, counted: proxy.take() });
        if has_restic {
            let seconds = restic(&["backup", text_of(&host.live())]);
            by_restic.push(Sent { seconds, counted: proxy.take() });
        }
        if night == 1 {
            // The same manifest, written into the directory.
            chsnap.expect(0, &["push", "latest", "--to", text_of(&local)]);
            manifest_bytes = files_below(&local.join("snapshots"))
                .last()
                .map_or(0, |path| fs::metadata(path).expect("it is there").len());
        }
        println!("  round {round}, night {night}: {:?}; restic {:?}", by_push[night], by_restic.get(night));
    }
    let both = |sent: Vec<Sent>| <[Sent; 2]>::try_from(sent).ok();
    Round { plain, push: both(by_push).expect("two nights"), restic: both(by_restic), new_bytes, manifest_bytes }
}

/// The version of restic, as it names itself; `None` if it is not installed.
fn restic_version() -> Option<String> {
    let output = Command::new("restic").arg("version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn timed(command: &Command) -> f64 {
    let run = measure::command(command);
    assert_eq!(run.code, 0, "{command:?}: {}", run.stderr);
    run.seconds
}

/// Adds parts with these numbers, whose bytes are all different, and returns the sum of the sizes of their files.
fn add_parts(host: &Store, parts: std::ops::RangeInclusive<u64>, args: &Args, seed: u64) -> u64 {
    let mut sum = 0;
    for number in parts {
        let own = seed + number * 1000;
        let mut files: Vec<(String, Vec<u8>)> =
            (0..args.small).map(|file| (format!("c{file:04}.bin"), bytes(own + file, SMALL_BYTES))).collect();
        files.push(("large.bin".to_owned(), bytes(own + 999, args.large)));
        let part = part_of(files);
        sum += part.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        host.put("events", &format!("all_{number}_{number}_0"), &part);
    }
    sum
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Reads and sends these files, `parallel` at once, and returns the seconds.
fn plain_put(files: &[PathBuf], port: u16, parallel: usize) -> f64 {
    let begun = Instant::now();
    let next = Mutex::new(files.iter());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                let agent = ureq::Agent::new_with_defaults();
                loop {
                    let Some(path) = next.lock().expect("no thread panics with it").next() else { return };
                    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
                    let made = agent
                        .put(format!("http://127.0.0.1:{port}/bucket/plain/{name}"))
                        .header(
                            "authorization",
                            format!("AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"),
                        )
                        .header("content-type", "application/octet-stream")
                        .send(&fs::read(path).expect("it is read")[..]);
                    assert!(made.is_ok(), "{name}: {made:?}");
                }
            });
        }
    });
    begun.elapsed().as_secs_f64()
}

fn requests(counted: &Counted) -> String {
    let of = counted.requests.iter().map(|(method, count)| format!("{} {method}", thousands(*count)));
    of.collect::<Vec<_>>().join(", ")
}

fn table(args: &Args, rounds: &[Round], text: &mut String) -> std::fmt::Result {
    let last = &rounds[rounds.len() - 1];
    writeln!(
        text,
        "\n{} parts with a file of {} bytes and {} of 8 KiB each, to an S3 server on the loopback that is written in Python; \
         then a night with 2 % new parts. {} at once. Rounds: {}. Requests and bytes are those that the server got in the \
         last round.\n",
        thousands(args.parts),
        thousands(args.large as u64),
        args.small,
        args.parallel,
        args.rounds
    )?;
    writeln!(text, "| What | s | Least to most | Requests | Bytes |\n|---|---:|---:|---|---:|")?;
    let mut row = |what: &str, of: &dyn Fn(&Round) -> Option<&Sent>| {
        let Some(sent) = of(last) else { return writeln!(text, "| {what} | not installed | | | |") };
        let spread = Spread::of(rounds.iter().filter_map(|round| Some(of(round)?.seconds)));
        writeln!(
            text,
            "| {what} | {:.2} | {:.2} to {:.2} | {} | {} |",
            spread.median,
            spread.least,
            spread.most,
            requests(&sent.counted),
            thousands(sent.counted.body_bytes)
        )
    };
    row("plain PUT of the same objects", &|round| Some(&round.plain))?;
    row("first `chsnap push`: compared with all checksums, hashed, committed", &|round| Some(&round.push[0]))?;
    let restic = restic_version().unwrap_or_else(|| "restic".to_owned());
    row(&format!("first `restic backup` ({restic}), encrypted"), &|round| round.restic.as_ref().map(|both| &both[0]))?;
    row("night, `chsnap push`", &|round| Some(&round.push[1]))?;
    row("night, `restic backup`, encrypted", &|round| round.restic.as_ref().map(|both| &both[1]))?;
    let share = Spread::of(rounds.iter().map(|round| round.plain.seconds / round.push[0].seconds * 100.0));
    let night = last.push[1].counted.body_bytes.saturating_sub(last.manifest_bytes);
    #[expect(clippy::cast_precision_loss, reason = "a share for a person")]
    let more = (night as f64 / last.new_bytes as f64 - 1.0) * 100.0;
    writeln!(
        text,
        "\nThe first push had {:.0} % of the speed of the plain PUT ({:.0} to {:.0} %). The night had {} bytes of new files; {} \
         were sent besides the manifest of {} bytes, {more:+.1} %.",
        share.median,
        share.least,
        share.most,
        thousands(last.new_bytes),
        thousands(night),
        thousands(last.manifest_bytes)
    )
}
