//! The documentation runs. Every block of README.md and docs/ is run here, page by page and in the order of the page, on
//! an engine with a table `shop.orders`; one that is not has a comment in front of it that says why.
//!
//! Paths of the pages are replaced by those of the test (`World::paths`); the rest runs as it stands, in `bash -eu`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::pages::{self, Block, Mark};
use testkit::chsnap_command::Chsnap;
use testkit::engine::{Engine, Kind};

/// Pages whose commands run here; each has a test below.
const RUN_HERE: [&str; 9] = [
    "README.md",
    "docs/by-hand.md",
    "docs/configuration.md",
    "docs/format.md",
    "docs/monitoring/README.md",
    "docs/nightly.md",
    "docs/operations.md",
    "docs/retention.md",
    "docs/trouble.md",
];

#[test]
fn every_block_is_run_or_says_why_not() {
    let mut wrong = Vec::new();
    let (mut run, mut marked) = (0, 0);
    for block in pages::pages().iter().flat_map(|page| pages::blocks(page)) {
        let place = format!("{}:{}", block.page, block.line);
        match &block.mark {
            Mark::NotRun(reason) if reason.len() > 8 => marked += 1,
            Mark::NotRun(_) => wrong.push(format!("{place}: why is it not run?")),
            Mark::RunBy { file, test } if pages::has_test(file, test) => marked += 1,
            Mark::RunBy { file, test } => wrong.push(format!("{place}: {file} has no test {test}")),
            _ if matches!(block.language.as_str(), "text" | "toml" | "json") => {}
            _ if block.is_commands() && RUN_HERE.contains(&block.page.as_str()) => run += 1,
            _ if block.is_commands() => wrong.push(format!("{place}: no test runs this page")),
            _ => wrong.push(format!("{place}: {:?} is neither commands, toml, json nor text", block.language)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(run > 25 && marked > 10, "{run} run, {marked} marked");
}

#[test]
fn every_claim_has_its_test() {
    let page = pages::read("docs/guarantees.md");
    let mut count = 0;
    for line in page.lines().filter(|line| line.starts_with('|') && line.contains("| `tests/")) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        assert!(pages::has_test(cells[2], cells[3]), "{} has no test {}", cells[2], cells[3]);
        count += 1;
    }
    assert!(count > 40, "{count}");
    let readme = pages::read("README.md");
    assert!(!readme.contains("tests/engines/") && !readme.contains("tests/cli/"), "README names tests");
    assert!(readme.len() < 8_000, "README is for somebody who decides in two minutes: {} bytes", readme.len());
    let screen: Vec<&str> = readme.lines().take(40).collect();
    for subject in ["What it is not", "Tested servers", "own `BACKUP`", "ZFS", "clickhouse-backup"] {
        assert!(screen.iter().any(|line| line.contains(subject)), "the first screen does not speak of {subject}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages::pages() {
        let text = pages::read(&page);
        let folder = Path::new(&page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { PathBuf::from(&page) } else { folder.join(file) };
            assert!(pages::root().join(&target).exists(), "{page}: no {link}");
            let Some(heading) = heading.filter(|_| target.extension().is_some_and(|end| end == "md")) else { continue };
            let other = fs::read_to_string(pages::root().join(&target)).expect("a page");
            let anchors = other.lines().filter(|line| line.starts_with('#')).map(anchor);
            assert!(anchors.into_iter().any(|found| found == heading), "{page}: {link} names no heading");
        }
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn json_on_the_pages_is_json() {
    let mut count = 0;
    for block in pages::pages().iter().flat_map(|page| pages::blocks(page)).filter(|block| block.language == "json") {
        let documents: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&block.text).into_iter().collect();
        let documents = documents.unwrap_or_else(|error| panic!("{}:{}: {error}", block.page, block.line));
        assert!(!documents.is_empty());
        count += documents.len();
    }
    assert!(count > 5, "{count}");
}

/// An engine with a table, a repository of it, and where the paths of the pages are.
struct World {
    engine: Engine,
    chsnap: Chsnap,
    paths: Vec<(&'static str, PathBuf)>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let engine = Engine::start(kind);
        engine.query("CREATE DATABASE shop");
        engine.query(
            "CREATE TABLE shop.orders (d Date, k UInt64) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY k",
        );
        engine.query("INSERT INTO shop.orders SELECT '2026-11-05', number FROM numbers(1000)");
        let data = engine.data_path().to_owned();
        let other = engine.root().join("of-the-page");
        let bin = other.join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        for folder in ["prometheus", "www", "etc/chsnap", "systemd", "mnt"] {
            fs::create_dir_all(other.join(folder)).expect("a folder");
        }
        // The example asks for more free space than a machine of tests must have.
        let example = pages::read("packaging/config.toml").replace("\"20GiB\"", "\"1MiB\"");
        fs::write(other.join("config.toml"), example).expect("a file");
        // `clickhouse local -q` as far as a page needs it, by the engine as a library.
        let local = bin.join("clickhouse");
        let python = Kind::V26.program();
        let text = format!(
            "#!/bin/sh\n[ \"$1 $2\" = 'local -q' ] || exit 64\nexec {} -c 'import chdb, sys; print(chdb.query(sys.argv[1]))' \"$3\"\n",
            python.display()
        );
        fs::write(&local, text).expect("a file");
        fs::set_permissions(&local, fs::Permissions::from_mode(0o755)).expect("a mode");
        let repository = data.join("chsnap");
        let chsnap = Chsnap::new(&repository)
            .url(&engine.url())
            .env("CHSNAP_SYSTEM_CONFIG_DIR", other.join("etc/chsnap").to_str().expect("a path"));
        let paths = vec![
            ("/var/lib/prometheus/node-exporter", other.join("prometheus")),
            ("/var/lib/clickhouse", data.clone()),
            ("/srv/clickhouse", data),
            ("/etc/systemd/system", other.join("systemd")),
            ("/etc/chsnap", other.join("etc/chsnap")),
            ("/var/www/html", other.join("www")),
            ("/mnt/other", other.join("mnt")),
            ("packaging/config.toml", other.join("config.toml")),
        ];
        Self { engine, chsnap, paths }
    }

    /// A world whose repository has this many snapshots.
    fn with_snapshots(kind: Kind, count: usize) -> Self {
        let world = Self::new(kind);
        world.chsnap.expect(0, &["init"]);
        for number in 0..count {
            world.engine.query(&format!("INSERT INTO shop.orders SELECT '2026-11-05', {number} FROM numbers(100)"));
            world.chsnap.expect(0, &["create"]);
        }
        world
    }

    fn snapshots(&self) -> usize {
        self.chsnap.json(0, &["list"])["snapshots"].as_array().expect("rows").len()
    }

    fn local(&self, text: &str) -> String {
        let mut text = text.replace("http://127.0.0.1:8123", &self.engine.url());
        // The snapshots here are as much smaller than those of the pages.
        text = text.replace("200GiB", "100KiB");
        // The packaged configuration asks for more free space than a machine of tests must have.
        let less = "\nsed -i s/20GiB/1MiB/ /etc/chsnap/config.toml\nchsnap config check";
        text = text.replace("\nchsnap config check", less);
        for (path, here) in &self.paths {
            text = text.replace(path, here.to_str().expect("a path"));
        }
        text
    }

    /// Runs a text in a shell that stops at the first failure; gives its exit code and all that it wrote.
    fn shell(&self, text: &str, at_terminal: bool) -> (i32, String) {
        let text = self.local(text);
        let binary = Path::new(env!("CARGO_BIN_EXE_chsnap")).parent().expect("a directory");
        let mut shell = if at_terminal {
            let mut script = Command::new("script");
            script.args(["-qefc", "exec bash -eu -c \"$PAGE\"", "/dev/null"]);
            script
        } else {
            let mut bash = Command::new("bash");
            bash.args(["-euc", &text]);
            bash
        };
        for (name, value) in self.chsnap.command(&[""; 0]).get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let bin = self.engine.root().join("of-the-page/bin");
        shell.env("PATH", format!("{}:{}:/usr/sbin:/usr/bin:/sbin:/bin", binary.display(), bin.display()));
        shell.env("PAGE", &text).env("TERM", "dumb").current_dir(pages::root());
        let output = if at_terminal {
            use std::io::Write as _;
            let mut child = shell
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("script starts");
            // One answer for each question that a page can ask.
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all("yes\n".repeat(20).as_bytes()).expect("answers");
            let output = child.wait_with_output().expect("it ends");
            drop(stdin);
            output
        } else {
            shell.output().expect("bash runs")
        };
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs or reads one block of a page.
    fn block(&self, block: &Block) -> String {
        let place = format!("{}:{}", block.page, block.line);
        if matches!(block.mark, Mark::NotRun(_) | Mark::RunBy { .. }) {
            return String::new();
        }
        match block.language.as_str() {
            "console" => {
                for command in block.text.split("$ ").skip(1) {
                    let (command, shown) = command.split_once('\n').unwrap_or((command, ""));
                    let (code, output) = self.shell(command, false);
                    let is_error = shown.starts_with("error:");
                    assert_eq!(code != 0, is_error, "{place}: {command}: {code}\n{output}");
                    let shown = self.local(shown);
                    let is_as_shown = block.mark == Mark::OutputDiffers || pages::is_as_shown(&shown, &output);
                    assert!(is_as_shown, "{place}: {command}\nthe page shows\n{shown}\nand it says\n{output}");
                }
                String::new()
            }
            "sh" | "bash" => {
                let expected = if let Mark::Exit(code) = block.mark { code } else { 0 };
                let (code, output) = self.shell(&block.text, block.mark == Mark::Terminal);
                assert_eq!(code, expected, "{place}:\n{}\n{output}", block.text);
                output
            }
            "toml" => {
                let file = self.engine.root().join("of-the-page/page.toml");
                fs::write(&file, &block.text).expect("a file");
                self.chsnap.expect(0, &["config", "check", "--config", file.to_str().expect("a path")]);
                String::new()
            }
            _ => String::new(),
        }
    }

    /// Runs all blocks of a page; gives what each wrote.
    fn page(&self, page: &str) -> Vec<String> {
        assert!(RUN_HERE.contains(&page), "{page}");
        pages::blocks(page).iter().map(|block| self.block(block)).collect()
    }
}

fn the_first_steps_work(kind: Kind) {
    let world = World::new(kind);
    let output = world.page("README.md").concat();
    assert!(
        output.contains("made the repository") && output.contains("2 tables") || output.contains("1 table"),
        "{output}"
    );
    // `create`, and the night that `run` makes.
    assert_eq!(world.snapshots(), 2);
    let systemd = world.engine.root().join("of-the-page/systemd");
    assert!(systemd.join("chsnap.timer").exists() && systemd.join("chsnap.service").exists());
}

#[test]
fn the_readme_runs_as_it_is_written_on_18_16() {
    the_first_steps_work(Kind::V18);
}

#[test]
fn the_readme_runs_as_it_is_written_on_26_9() {
    the_first_steps_work(Kind::V26);
}

#[test]
fn the_first_commands_of_the_readme_are_the_quickstart_and_the_tests() {
    let first = pages::blocks("README.md").into_iter().find(Block::is_commands).expect("commands");
    let words: Vec<&str> = first.text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["./quickstart", "./test"]);
    for word in words {
        let mode = fs::metadata(pages::root().join(word)).expect("a script").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{word}");
    }
}

#[test]
fn a_table_comes_back_by_hand_as_it_is_written() {
    let world = World::with_snapshots(Kind::V26, 1);
    let rows = world.engine.query("SELECT count(), sum(k) FROM shop.orders");
    world.engine.query("DROP TABLE shop.orders");
    world.page("docs/by-hand.md");
    assert_eq!(world.engine.query("SELECT count(), sum(k) FROM shop.orders"), rows);
}

#[test]
fn the_configuration_reads_as_it_is_written() {
    let world = World::with_snapshots(Kind::V26, 1);
    let config = world.engine.root().join("of-the-page/etc/chsnap/config.toml");
    for block in pages::blocks("docs/configuration.md") {
        // A file that the page shows, right or wrong, is what the commands below it are about.
        if matches!(block.language.as_str(), "toml" | "text") {
            fs::write(&config, &block.text).expect("a file");
        }
        world.block(&block);
    }
}

#[test]
fn the_format_is_as_it_is_written() {
    let world = World::with_snapshots(Kind::V26, 2);
    world.chsnap.expect(0, &["rm", "latest~1"]);
    assert!(world.page("docs/format.md").concat().contains("orders"));
    // Every key that an example has is in the real file.
    let examples: Vec<Value> = pages::blocks("docs/format.md")
        .iter()
        .filter(|block| block.language == "json")
        .map(|block| serde_json::from_str(&block.text).expect("JSON"))
        .collect();
    let repository = world.chsnap.repo();
    let of_file = |path: PathBuf| -> Value {
        let text = fs::read_to_string(path).expect("a file");
        serde_json::from_str(text.lines().last().unwrap_or_default())
            .or_else(|_| serde_json::from_str(&text))
            .expect("JSON")
    };
    let journal =
        fs::read_dir(repository.join("journal")).expect("a folder").next().expect("a month").expect("an entry");
    for (has, real) in [("server", of_file(repository.join("chsnap.json"))), ("ids", of_file(journal.path()))] {
        let example = examples.iter().find(|example| example.get(has).is_some()).expect("an example");
        let missing: Vec<String> = keys(example).difference(&keys(&real)).cloned().collect();
        assert!(missing.is_empty(), "{missing:?} not in {real}");
    }
}

/// All keys of a document, with those above them.
fn keys(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            found.insert(name.clone());
            found.extend(keys(value).into_iter().map(|inner| format!("{name}.{inner}")));
        }
    }
    found
}

#[test]
fn monitoring_runs_as_it_is_written() {
    let world = World::with_snapshots(Kind::V26, 1);
    world.page("docs/monitoring/README.md");
    assert!(world.engine.root().join("of-the-page/prometheus/chsnap.prom").exists());
}

#[test]
fn the_night_runs_as_it_is_written() {
    let blocks = pages::blocks("docs/nightly.md");
    let (first_steps, others) = blocks.split_first().expect("blocks");
    let new = World::new(Kind::V26);
    assert!(new.block(first_steps).contains("made the repository"));
    assert_eq!(new.snapshots(), 1);
    let world = World::with_snapshots(Kind::V26, 1);
    // The profile of the page.
    let repository = world.chsnap.repo().display().to_string();
    let file = world.engine.root().join("of-the-page/etc/chsnap/config.toml");
    fs::write(file, format!("[profile.nfs]\nrepo = {repository:?}\n")).expect("a file");
    for block in others {
        world.block(block);
    }
    assert!(world.engine.root().join("of-the-page/systemd/chsnap-nfs.timer").exists());
}

#[test]
fn operations_run_as_they_are_written() {
    let world = World::with_snapshots(Kind::V26, 10);
    world.page("docs/operations.md");
}

#[test]
fn the_rules_run_as_they_are_written_with_the_packaged_policy_and_without() {
    let world = World::with_snapshots(Kind::V26, 2);
    world.page("docs/retention.md");
    let config = world.engine.root().join("of-the-page/etc/chsnap/config.toml");
    fs::copy(pages::root().join("packaging/config.toml"), config).expect("a copy");
    world.page("docs/retention.md");
}

fn trouble_is_written_as_it_works(kind: Kind) {
    let world = World::with_snapshots(kind, 6);
    let blocks = pages::blocks("docs/trouble.md");
    for block in &blocks {
        // Who moves here has no repository yet.
        let first = block.text.contains("chsnap init").then(|| World::new(kind));
        first.as_ref().unwrap_or(&world).block(block);
    }
    // rm of the oldest, then three that `create` and `run` take.
    assert!(world.snapshots() >= 6, "{}", world.snapshots());
    let cron =
        blocks.iter().find(|block| block.text.starts_with("chsnap run --progress none")).expect("the line for cron");
    assert_eq!(world.block(cron), "", "cron mails nothing when all is well");
}

#[test]
fn the_page_for_trouble_works_on_18_16() {
    trouble_is_written_as_it_works(Kind::V18);
}

#[test]
fn the_page_for_trouble_works_on_26_9() {
    trouble_is_written_as_it_works(Kind::V26);
}

#[test]
fn output_is_compared_with_what_is_shown() {
    assert!(pages::is_as_shown("a\n…\nc …\n", "a\nb\nb\nc 12\n"));
    assert!(pages::is_as_shown("a … b\n", "a 1 2 b\n"));
    assert!(!pages::is_as_shown("a\nc\n", "a\nb\nc\n"));
    assert!(!pages::is_as_shown("a b\n", "a b c\n") && !pages::is_as_shown("b\n", "a b\n"));
}
