//! A repository on a filesystem that is slow, fails, or loses answers: whole commands on a real mount (FUSE), with the
//! kernel between chsnap and the fault. What a real NFS does is in tests/nfs; this boots no machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::chsnap_command::{Chsnap, Run};
use testkit::freezer::Freezer;
use testkit::passthrough::{Fault, Passthrough, REPEATED};
use testkit::strace::{Dice, is_full};
use testkit::tree::{Tree, files, tree};

/// `errno(3)` on Linux.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const ESTALE: i32 = 116;
const EDQUOT: i32 = 122;

/// A server on a local filesystem, and a mount for its repositories.
struct Lab {
    mount: Passthrough,
    freezer: Freezer,
    live: Tree,
    folder: tempfile::TempDir,
}

impl Lab {
    /// With two tables of this many parts each.
    fn with_parts(count: u8) -> Self {
        let mount = Passthrough::new();
        let folder = tempfile::tempdir().expect("a folder");
        let freezer = Freezer::start(&folder.path().join("ch"));
        // No two parts alike, so that each is copied once.
        for (number, table) in [(1, "one"), (2, "two")] {
            for part in 1..=count {
                freezer.add_small_part_of(table, &format!("all_{part}_{part}_0"), [number, part, 3, 4]);
            }
        }
        let mut lab = Self { mount, freezer, live: Tree::new(), folder };
        // The first freeze takes the right to write off the live files, as ClickHouse's own does.
        lab.repository("first").json(0, &["create"]);
        lab.live = tree(&lab.live_data());
        lab
    }

    /// A repository of this name, with the index on this host's own disk.
    fn repository(&self, name: &str) -> Chsnap {
        let state = self.folder.path().join(format!("{name}.state"));
        let chsnap = Chsnap::new(&self.mount.path().join(name)).url(self.freezer.url());
        let chsnap = chsnap.env("XDG_STATE_HOME", &state.display().to_string());
        chsnap.json(0, &["init"]);
        chsnap
    }

    /// The same with a snapshot of one table, which the next one links from.
    fn with_snapshot(&self, name: &str) -> (Chsnap, Value) {
        let chsnap = self.repository(name);
        let created = chsnap.json(0, &["create", "--table", "d.one"]);
        (chsnap, created)
    }

    fn live_data(&self) -> PathBuf {
        self.folder.path().join("ch/data")
    }

    /// The snapshot has every file of these tables with its content, numeric ids, mode and time, and none besides; it is
    /// as `verify` wants it.
    fn check(&self, chsnap: &Chsnap, id: &str, tables: &[&str], context: &str) {
        for table in tables {
            let live = contents(&self.live_data().join("d").join(table));
            let held = contents(&path_of(chsnap, id).join("data/d").join(table));
            assert!(!live.is_empty());
            assert_eq!(held, live, "{table}: {context}");
        }
        let verified = chsnap.json(0, &["verify", id, "--level", "data"]);
        assert_eq!(verified["damage"], serde_json::json!([]), "{context}");
    }

    /// Neither the server's files nor its shadow have anything of what was done.
    fn check_server(&self, context: &str) {
        assert!(tree(&self.live_data()) == self.live, "the live data are others: {context}");
        let left: Vec<PathBuf> = tree(&self.freezer.shadow()).into_keys().collect();
        assert!(left.is_empty(), "{left:?}: {context}");
    }
}

type Contents = BTreeMap<PathBuf, (blake3::Hash, u32, u32, u32, (i64, i64))>;

fn contents(dir: &Path) -> Contents {
    let found = tree(dir);
    let of = |node: &testkit::tree::Node| (node.content, node.mode, node.uid, node.gid, node.modified);
    files(&found).into_iter().map(|(path, node)| (path.to_owned(), of(node))).collect()
}

fn id_of(created: &Value) -> &str {
    created["id"].as_str().expect("an id")
}

fn path_of(chsnap: &Chsnap, id: &str) -> PathBuf {
    chsnap.repo().join("snapshots").join(id)
}

fn ids(chsnap: &Chsnap) -> Vec<String> {
    let listed = chsnap.json(0, &["list"]);
    let rows = listed["snapshots"].as_array().expect("rows");
    rows.iter().map(|row| id_of(row).to_owned()).collect()
}

/// So many calls of those that `attempt` makes, each of as many kinds as there are; all of them with `CHSNAP_FULL`.
fn choose(dice: &mut Dice, kinds: &[&'static str], count: usize) -> Vec<usize> {
    if is_full() {
        return (0..kinds.len()).collect();
    }
    let mut by_kind: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, kind) in kinds.iter().enumerate() {
        by_kind.entry(kind).or_default().push(number);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count && !by_kind.is_empty() {
        for numbers in by_kind.values_mut() {
            chosen.push(numbers.swap_remove(dice.below(numbers.len())));
        }
        by_kind.retain(|_, numbers| !numbers.is_empty());
    }
    chosen
}

/// A repository with a snapshot; in the trash, where the command is to empty that.
fn prepared_for(lab: &Lab, name: &str, command: &[&str]) -> (Chsnap, Value) {
    let (chsnap, first) = lab.with_snapshot(name);
    if command == ["gc"] {
        chsnap.json(0, &["rm", "--force", "latest"]);
    }
    (chsnap, first)
}

/// The kinds of the calls of one command.
fn calls_of(lab: &Lab, name: &str, command: &[&str]) -> Vec<&'static str> {
    let (chsnap, _) = prepared_for(lab, name, command);
    lab.mount.take_kinds();
    chsnap.json(0, command);
    let kinds = lab.mount.take_kinds();
    assert!(kinds.len() > 20, "only {} calls: {kinds:?}", kinds.len());
    kinds
}

/// Runs a command with a fault at one call. What was struck is empty where the run made fewer calls than the one before.
fn struck(lab: &Lab, chsnap: &Chsnap, command: &[&str], at: usize, fault: Fault) -> (Run, Option<&'static str>) {
    lab.mount.strike(at, fault);
    let mut arguments = vec!["--json", "--progress", "none"];
    arguments.extend(command);
    let run = chsnap.run(&arguments);
    (run, lab.mount.spare())
}

/// A create in a repository with a snapshot, with a fault at one call.
struct Trial {
    chsnap: Chsnap,
    /// The snapshot that was there, and what it looked like.
    first: String,
    before: Tree,
    run: Run,
    kind: Option<&'static str>,
    context: String,
}

fn struck_create(lab: &Lab, name: &str, at: usize, fault: Fault, seed: &str) -> Trial {
    let (chsnap, first) = lab.with_snapshot(name);
    let before = tree(&path_of(&chsnap, id_of(&first)));
    let (run, kind) = struck(lab, &chsnap, &["create"], at, fault);
    let context = format!("{fault:?} at call {at}, {kind:?}, {seed}\n{}\n{}", run.stdout, run.stderr);
    Trial { chsnap, first: id_of(&first).to_owned(), before, run, kind, context }
}

#[test]
fn fuse_commands_work_as_on_any_filesystem() {
    let lab = Lab::with_parts(3);
    let (chsnap, first) = lab.with_snapshot("repo");
    let second = chsnap.json(0, &["create"]);
    // One table is linked from the first snapshot, the other comes from another filesystem.
    assert_eq!((&second["placed"]["linked"]["parts"], &second["placed"]["copied"]["parts"]), (&3.into(), &3.into()));
    lab.check(&chsnap, id_of(&first), &["one"], "first");
    lab.check(&chsnap, id_of(&second), &["one", "two"], "second");
    let inodes = |id: &str| -> Vec<u64> {
        files(&tree(&path_of(&chsnap, id).join("data/d/one"))).values().map(|node| node.inode).collect()
    };
    assert_eq!(inodes(id_of(&first)), inodes(id_of(&second)));
    let usage = chsnap.json(0, &["usage", "--exact"]);
    assert_eq!((&usage["exact"]["agrees"], &usage["estimated"]), (&true.into(), &false.into()));
    // The figures of the index rest on inode numbers, which a restart of such a filesystem may change.
    assert_eq!(chsnap.json(0, &["usage"])["estimated"], true);
    let text = chsnap.expect(0, &["usage"]).stdout;
    assert!(text.contains("estimated: the figures rest on inode numbers"), "{text}");
    let target = lab.folder.path().join("files");
    chsnap.expect(0, &["restore", id_of(&second), "--to", &target.display().to_string(), "--yes"]);
    assert!(tree(&target).keys().any(|path| path.ends_with("all_3_3_0/k.bin")));
    chsnap.json(0, &["rm", id_of(&first)]);
    chsnap.json(0, &["undo"]);
    assert_eq!(ids(&chsnap).len(), 2);
    chsnap.json(0, &["rm", id_of(&first)]);
    chsnap.json(0, &["gc"]);
    lab.check(&chsnap, id_of(&second), &["one", "two"], "after the first is gone");
    assert!(tree(&chsnap.repo().join("trash")).is_empty());
    lab.check_server("commands");
}

/// The lists of a snapshot that `create` opens.
fn opened_lists(chsnap: &Chsnap, id: &str) -> BTreeSet<&'static str> {
    let trace = chsnap.traced(&["--progress", "none", "create"]);
    let is_opened = |name: &&str| {
        let opens = |(kind, text): (&str, &str)| {
            kind.starts_with("openat") && text.contains(&format!("snapshots/{id}>")) && text.contains(*name)
        };
        trace.calls().any(opens)
    };
    ["manifest.json", "parts.jsonl.zst"].into_iter().filter(is_opened).collect()
}

/// Also on NFS, where each would be a call to the server and more.
#[test]
fn fuse_lists_that_the_index_of_this_host_has_are_not_opened() {
    let lab = Lab::with_parts(2);
    let chsnap = lab.repository("repo");
    let both = BTreeSet::from(["manifest.json", "parts.jsonl.zst"]);
    chsnap.json(0, &["create"]);
    let last = || ids(&chsnap).into_iter().max().expect("a snapshot");
    for _ in 0..2 {
        assert_eq!(opened_lists(&chsnap, &last()), BTreeSet::new());
    }
    // A manifest that was replaced is another one, whatever is in it.
    let id = last();
    let manifest = path_of(&chsnap, &id).join("manifest.json");
    fs::copy(&manifest, manifest.with_extension("new")).expect("copied");
    fs::rename(manifest.with_extension("new"), &manifest).expect("renamed");
    assert_eq!(opened_lists(&chsnap, &id), both);
    let id = last();
    fs::remove_dir_all(lab.folder.path().join("repo.state")).expect("removed");
    assert_eq!(opened_lists(&chsnap, &id), both);
    let id = last();
    assert_eq!(opened_lists(&chsnap, &id), BTreeSet::new());
    lab.check(&chsnap, &last(), &["one", "two"], "the last night");
}

/// Also on NFS, where tests/nfs runs the like of it.
#[test]
fn fuse_damage_that_a_part_had_when_it_was_taken_is_remembered() {
    let lab = Lab::with_parts(2);
    let chsnap = lab.repository("repo");
    let live = fs::File::options().write(true).open(lab.live_data().join("d/one/all_1_1_0/k.bin"));
    live.and_then(|file| file.set_len(3)).expect("cut");
    let is_known = |created: &Value, when: &str| {
        for command in [&["list"][..], &["show", id_of(created)]] {
            let document = chsnap.json(3, command);
            let kinds = document["warning_list"].as_array().expect("warnings").iter().map(|warning| &warning["kind"]);
            assert!(kinds.into_iter().any(|kind| kind == "damage_found"), "{when}: {command:?}: {document}");
        }
    };
    let first = chsnap.json(3, &["create"]);
    is_known(&first, "from the index of this host");
    // The next night has the same part, which the list of this host's index shows as damaged.
    let second = chsnap.json(3, &["create"]);
    is_known(&second, "of the next snapshot");
    let state = lab.folder.path().join("repo.state");
    fs::remove_dir_all(&state).expect("removed");
    is_known(&first, "without an index");
    fs::remove_dir_all(&state).expect("removed");
    let third = chsnap.json(3, &["create"]);
    is_known(&third, "of a snapshot that was made without an index");
    chsnap.json(12, &["verify"]);
    is_known(&first, "after a verification");
}

/// `syncfs` never reaches the process behind the mount: each file and directory is synced by itself.
#[test]
fn fuse_snapshots_are_durable_file_by_file() {
    let lab = Lab::with_parts(4);
    let chsnap = lab.repository("synced");
    let synced = |arguments: &[&str]| {
        let _before = lab.mount.take_kinds();
        let created = chsnap.json(0, arguments);
        let kinds = lab.mount.take_kinds();
        let count = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
        let found = tree(&path_of(&chsnap, id_of(&created)));
        let directories = found.values().filter(|node| node.is_dir).count();
        (created, files(&found).len(), directories, count("fsync"), count("fsyncdir"))
    };
    let (_, files, directories, fsync, fsyncdir) = synced(&["create"]);
    assert!(
        fsync >= files && fsyncdir >= directories,
        "{fsync} of {files} files, {fsyncdir} of {directories} directories"
    );
    // What is linked from a sealed snapshot was synced with that one.
    let (created, files, _, fsync, _) = synced(&["create"]);
    let linked = created["placed"]["linked"]["files"].as_u64().expect("a number");
    assert!(linked > 0 && fsync < files, "{fsync} of {files} files, {linked} of them linked");
    let doctor = chsnap.run(&["doctor"]);
    assert!(doctor.stdout.contains("each file is synced separately"), "{}", doctor.stdout);
}

#[test]
fn fuse_answers_that_are_lost_are_noticed_at_no_call() {
    let lab = Lab::with_parts(2);
    let (mut dice, seed) = Dice::new("lost answers");
    for (name, command) in [("create", &["create"][..]), ("rm", &["rm", "--force", "latest"]), ("gc", &["gc"])] {
        let kinds = calls_of(&lab, &format!("calls-{name}"), command);
        let (mut met, mut trials) = (BTreeMap::new(), 0);
        for at in choose(&mut dice, &kinds, 50) {
            if !kinds.get(at).is_some_and(|kind| REPEATED.contains(kind)) {
                continue;
            }
            trials += 1;
            let (chsnap, first) = prepared_for(&lab, &format!("{name}-{at}"), command);
            let (run, kind) = struck(&lab, &chsnap, command, at, Fault::Repeated);
            *met.entry(kind.unwrap_or("none")).or_insert(0) += 1;
            let context = format!("{name}, call {at}, {kind:?}, {seed}");
            assert_eq!(run.code, 0, "{context}\n{}\n{}", run.stdout, run.stderr);
            match name {
                "create" => {
                    let id: Value = serde_json::from_str(&run.stdout).expect("JSON");
                    lab.check(&chsnap, id_of(&id), &["one", "two"], &context);
                    lab.check(&chsnap, id_of(&first), &["one"], &context);
                }
                "rm" => assert!(ids(&chsnap).is_empty() && !tree(&chsnap.repo().join("trash")).is_empty(), "{context}"),
                _ => assert!(tree(&chsnap.repo().join("trash")).is_empty(), "{context}"),
            }
            lab.check_server(&context);
        }
        assert!(trials >= 3 && met.keys().any(|kind| REPEATED.contains(kind)), "{name}: {trials} trials, {met:?}");
    }
}

/// After a create that met a fault: older snapshots are as they were, the new one is absent or complete, and the next
/// run comes to one.
fn check_after(lab: &Lab, trial: &Trial) {
    let Trial { chsnap, first, before, context, .. } = trial;
    assert_eq!(&tree(&path_of(chsnap, first)), before, "{context}");
    for id in ids(chsnap).iter().filter(|id| *id != first) {
        lab.check(chsnap, id, &["one", "two"], context);
    }
    let next = chsnap.json(0, &["create"]);
    lab.check(chsnap, id_of(&next), &["one", "two"], context);
    chsnap.json(0, &["gc"]);
    let left = tree(&chsnap.repo().join("incoming"));
    assert!(left.is_empty(), "{:?}: {context}", left.keys());
    lab.check_server(context);
}

#[test]
fn fuse_errors_leave_no_half_snapshot() {
    let lab = Lab::with_parts(2);
    let (mut dice, seed) = Dice::new("errors on fuse");
    let kinds = calls_of(&lab, "calls", &["create"]);
    let mut failed = 0;
    let faults = [EIO, ENOSPC, ESTALE, EDQUOT].map(Fault::Error).into_iter().chain([Fault::DoneThenError(EIO)]);
    for (round, fault) in faults.enumerate() {
        let chosen = choose(&mut dice, &kinds, 7);
        // One error at a call of each kind; of the others, which take the same ways, at a third of them.
        let apart = if round == 0 || is_full() { 1 } else { 3 };
        for at in chosen.into_iter().skip(round % apart).step_by(apart) {
            let trial = struck_create(&lab, &format!("errors-{round}-{at}"), at, fault, &seed);
            let Trial { chsnap, run, context, .. } = &trial;
            assert!(matches!(run.code, 0 | 1 | 3), "{context}");
            let count = ids(chsnap).len();
            match run.code {
                1 => {
                    failed += 1;
                    // What fails behind the commit is a warning; what fails before leaves nothing.
                    assert_eq!(count, 1, "{context}");
                    let said: Value = serde_json::from_str(&run.stderr).expect("a JSON error");
                    assert!(
                        said["error"].is_object() || said["error"].is_string() || said["message"].is_string(),
                        "{said}"
                    );
                }
                _ => assert_eq!(count, 2, "{context}"),
            }
            check_after(&lab, &trial);
        }
    }
    assert!(failed >= 10, "only {failed} runs failed");
}

#[test]
fn fuse_killed_at_a_call_leaves_no_half_snapshot() {
    let lab = Lab::with_parts(2);
    let (mut dice, seed) = Dice::new("kills on fuse");
    let kinds = calls_of(&lab, "calls", &["create"]);
    let mut killed = 0;
    for at in choose(&mut dice, &kinds, 16) {
        let trial = struck_create(&lab, &format!("kills-{at}"), at, Fault::Kill, &seed);
        let Trial { run, kind, context, .. } = &trial;
        killed += u32::from(run.code == -1);
        assert!(run.code == -1 || kind.is_none(), "{context}");
        check_after(&lab, &trial);
    }
    assert!(killed >= 10, "only {killed} kills");
}

#[test]
fn fuse_calls_of_a_slow_filesystem_are_made_at_once() {
    let lab = Lab::with_parts(60);
    let chsnap = lab.repository("repo");
    let mut most = BTreeMap::new();
    lab.mount.delay(Duration::from_millis(1));
    for command in [&["create"][..], &["create"], &["verify"], &["rm", "latest"], &["gc"]] {
        lab.mount.take_most_at_once();
        let begun = Instant::now();
        chsnap.json(0, command);
        most.insert(format!("{command:?}"), (lab.mount.take_most_at_once(), begun.elapsed()));
    }
    lab.mount.delay(Duration::ZERO);
    // `rm` renames one directory. The others are handed out by directory, to 24 threads by default.
    let at_once: Vec<usize> =
        most.iter().filter(|(name, _)| !name.contains("rm")).map(|(_, (most, _))| *most).collect();
    assert!(at_once.iter().all(|most| *most >= 8), "{most:?}");
    let left = ids(&chsnap);
    lab.check(&chsnap, left.first().expect("one is left"), &["one", "two"], "slow");
    fs::metadata(chsnap.repo().join("latest")).expect("it leads to a snapshot");
}

/// As with NFSv4 whose client and server do not agree on the names of users: a process that writes as root is not refused, and
/// yet nothing keeps its owner.
#[test]
fn fuse_ids_that_are_mapped_are_found_before_anything_is_copied() {
    let lab = Lab::with_parts(2);
    let chsnap = lab.repository("repo");
    lab.freezer.run_by(4321);
    lab.mount.map_ids_to(Some(65534));
    let refused = chsnap.json(1, &["create"]);
    assert!(refused.to_string().contains("--ids record"), "{refused}");
    let left = tree(&chsnap.repo().join("incoming"));
    assert!(left.is_empty() && ids(&chsnap).is_empty(), "{left:?}");
    let created = chsnap.json(0, &["create", "--ids", "record"]);
    let id = id_of(&created);
    let of = |uid: &str| -> Vec<bool> {
        let listing = fs::read(path_of(&chsnap, id).join("parts.jsonl.zst")).expect("a listing");
        let listing = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("zstd")).expect("text");
        listing.lines().map(|line| line.contains(&format!("\"uid\":{uid}"))).collect()
    };
    assert_eq!((of("4321"), of("65534")), (vec![true; 4], vec![false; 4]), "whose they are is in the manifest");
    assert_eq!(chsnap.json(0, &["verify", id, "--level", "data"])["damage"], serde_json::json!([]));
}

/// A second repository on this filesystem, and the one on the host's own disk that is copied there.
struct SecondPlace {
    local: Chsnap,
    first: String,
    second: String,
}

impl SecondPlace {
    /// Two nights: one table, then both.
    fn new(lab: &Lab) -> Self {
        let state = lab.folder.path().join("local.state");
        let local = Chsnap::new(&lab.folder.path().join("local")).url(lab.freezer.url());
        let local = local.env("XDG_STATE_HOME", &state.display().to_string());
        local.json(0, &["init"]);
        let first = id_of(&local.json(0, &["create", "--table", "d.one"])).to_owned();
        let second = id_of(&local.json(0, &["create"])).to_owned();
        Self { local, first, second }
    }
}

/// The second repository as one to read.
fn second_at(lab: &Lab, name: &str) -> Chsnap {
    let state = lab.folder.path().join("local.state");
    Chsnap::new(&lab.mount.path().join(name)).env("XDG_STATE_HOME", &state.display().to_string())
}

#[test]
fn fuse_takes_copies_of_a_local_repository_completely_or_not_at_all() {
    let lab = Lab::with_parts(2);
    let place = SecondPlace::new(&lab);
    let copy = |id: &str, name: &str| {
        let to = lab.mount.path().join(name).display().to_string();
        ["copy", id, "--to", &to].map(str::to_owned)
    };
    let done = |id: &str, name: &str| place.local.json(0, &copy(id, name).each_ref().map(String::as_str));
    done(&place.first, "calls");
    let _before = lab.mount.take_kinds();
    let copied = done(&place.second, "calls");
    let kinds = lab.mount.take_kinds();
    let placed = &copied["snapshots"][0]["placed"];
    assert_eq!((&placed["linked"]["parts"], &placed["copied"]["parts"]), (&2.into(), &2.into()), "{copied}");
    let there = second_at(&lab, "calls");
    lab.check(&there, &place.first, &["one"], "first");
    lab.check(&there, &place.second, &["one", "two"], "second");
    // `syncfs` never reaches it: each file that was written is synced by itself.
    let fsyncs = kinds.iter().filter(|kind| **kind == "fsync").count();
    let written = placed["copied"]["files"].as_u64().expect("a number");
    assert!(fsyncs as u64 >= written, "{fsyncs} of {written}");
    let (mut dice, seed) = Dice::new("copies on fuse");
    let (mut failed, mut killed) = (0, 0);
    for (round, fault) in [Fault::Error(EIO), Fault::Error(ENOSPC), Fault::Kill].into_iter().enumerate() {
        for at in choose(&mut dice, &kinds, 6) {
            let name = format!("struck-{round}-{at}");
            done(&place.first, &name);
            let there = second_at(&lab, &name);
            let before = tree(&path_of(&there, &place.first));
            let arguments = copy(&place.second, &name);
            let (run, kind) = struck(&lab, &place.local, &arguments.each_ref().map(String::as_str), at, fault);
            let context = format!("{fault:?} at call {at}, {kind:?}, {seed}\n{}\n{}", run.stdout, run.stderr);
            assert!(matches!(run.code, 0 | 1 | 3 | -1), "{}: {context}", run.code);
            assert_eq!(tree(&path_of(&there, &place.first)), before, "{context}");
            let stands = path_of(&there, &place.second).exists();
            assert!(run.code == -1 || stands == matches!(run.code, 0 | 3), "{context}");
            failed += u32::from(run.code == 1);
            killed += u32::from(run.code == -1);
            done(&place.second, &name);
            lab.check(&there, &place.second, &["one", "two"], &context);
            let left = tree(&there.repo().join("incoming"));
            assert!(left.is_empty(), "{:?}: {context}", left.keys());
        }
    }
    assert!(failed >= 4 && killed >= 3, "{failed} failed, {killed} were killed");
}

#[test]
fn fuse_ids_that_are_mapped_are_recorded_by_a_copy_with_ids_record() {
    let lab = Lab::with_parts(2);
    lab.freezer.run_by(4321);
    let place = SecondPlace::new(&lab);
    lab.mount.map_ids_to(Some(65534));
    let to = lab.mount.path().join("second").display().to_string();
    let refused = place.local.json(1, &["copy", "--new", "--to", &to]);
    assert!(refused.to_string().contains("--ids record"), "{refused}");
    let there = second_at(&lab, "second");
    assert!(ids(&there).is_empty() && tree(&there.repo().join("incoming")).is_empty());
    let copied = place.local.json(0, &["copy", "--new", "--ids", "record", "--to", &to]);
    assert_eq!(copied["copied"], 2, "{copied}");
    let listing = fs::read(path_of(&there, &place.second).join("parts.jsonl.zst")).expect("a listing");
    let listing = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("zstd")).expect("text");
    assert!(listing.lines().all(|line| line.contains("\"uid\":4321")), "whose they are is in the list of parts");
    assert_eq!(there.json(0, &["verify", "--level", "data"])["damage"], serde_json::json!([]));
    // Nothing of it is new to the next copy, and what it has is linked there.
    assert_eq!(place.local.json(0, &["copy", "--new", "--ids", "record", "--to", &to])["copied"], 0);
}
