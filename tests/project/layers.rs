//! Dependencies point down the list of layers only, and each duty stays in the layer that owns it.
//!
//! Reads `src/` as text: a dozen lines of rules are worth more here than a parser.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the top to the bottom; a layer may use those behind it, and itself.
const LAYERS: [&str; 11] =
    ["cli", "ops", "exec", "remote", "repo", "server", "fs", "checksums", "plan", "monitor", "model"];

const SYSTEM_CRATES: [&str; 3] = ["nix", "rustix", "jwalk"];

const PRINTS: [&str; 7] = ["println!", "print!", "eprintln!", "eprint!", "dbg!", "stdout()", "stderr()"];

const CLOCKS: [&str; 4] = ["Utc::now", "Local::now", "SystemTime::now", "UNIX_EPOCH.elapsed"];

const ENVIRONMENT: [&str; 4] = ["env::var", "env::vars", "env::var_os", "env::vars_os"];

/// What of `std::fs` and `std::os::unix::fs` changes the filesystem, behind `fs::`.
const MUTATIONS: [&str; 20] = [
    "chown",
    "copy",
    "create_dir",
    "create_dir_all",
    "fchown",
    "hard_link",
    "lchown",
    "remove_dir",
    "remove_dir_all",
    "remove_file",
    "rename",
    "set_permissions",
    "set_times",
    "soft_link",
    "symlink",
    "write",
    "DirBuilder",
    "DirBuilderExt",
    "OpenOptions",
    "OpenOptionsExt",
];

/// The same behind a type.
const FILE_MUTATIONS: [&str; 7] = [
    "File::create",
    "File::create_new",
    "File::options",
    "OpenOptions::new",
    "DirBuilder::new",
    "TempDir::new",
    "NamedTempFile::new",
];

/// What is wrong with the source at `path`, which is relative to `src/`.
fn findings(path: &str, text: &str) -> Vec<String> {
    let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
    if is_test {
        return Vec::new();
    }
    let production = production(text);
    let mut found = Vec::new();
    let code = without_comments(production);
    let layer = path.split(['/', '.']).next().unwrap_or_default();
    found.extend(upward_imports(path, layer, &code));
    if layer != "fs" {
        for name in SYSTEM_CRATES {
            if mentions(&code, name, "::") || mentions(&code, name, ";") || mentions(&code, name, " as ") {
                found.push(format!("uses {name}, which only src/fs does"));
            }
        }
        let by_path = paths(&code, "fs").into_iter().filter(|name| MUTATIONS.contains(&name.as_str()));
        let by_type = FILE_MUTATIONS.iter().filter(|name| mentions(&code, name, "")).map(ToString::to_string);
        found.extend(by_path.chain(by_type).map(|name| format!("changes the filesystem by {name}, past src/fs")));
    }
    if layer != "cli" {
        for name in PRINTS.iter().chain(&CLOCKS).chain(&ENVIRONMENT) {
            if mentions(&code, name, "") {
                found.push(format!("has {name}, which only src/cli may"));
            }
        }
    }
    found
}

/// The text before the block of unit tests at the end.
fn production(text: &str) -> &str {
    let tests = text.match_indices("#[cfg(test)]").find(|(at, found)| {
        let item = text[at + found.len()..].trim_start();
        item.starts_with("mod ")
            && item.split(['{', ';']).next().map(str::len).is_some_and(|end| item[end..].starts_with('{'))
    });
    tests.map_or(text, |(at, _)| &text[..at])
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) if line[..at].ends_with(':') => line,
        Some(at) => &line[..at],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `code` contains `name` as a whole word, directly followed by `behind`.
fn mentions(code: &str, name: &str, behind: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let rest = &code[at + name.len()..];
        let ends = !behind.is_empty() || !name.ends_with(is_word) || !rest.starts_with(is_word);
        !code[..at].ends_with(is_word) && ends && rest.starts_with(behind)
    })
}

/// The names that follow `root::` in `code`, those of a group `root::{a, b::c}` among them.
fn paths(code: &str, root: &str) -> Vec<String> {
    let prefix = format!("{root}::");
    let starts = code.match_indices(&prefix).filter(|(at, _)| !code[..*at].ends_with(is_word));
    starts.flat_map(|(at, _)| names(&code[at + prefix.len()..])).collect()
}

fn names(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|letter| is_word(*letter)).collect::<String>();
    let Some(group) = rest.trim_start().strip_prefix('{') else { return vec![word(rest)] };
    let mut names = Vec::new();
    let (mut depth, mut from) = (0_i32, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(word(&group[from..at]));
                from = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// How many modules lie between a file's own module and the root of its crate.
fn depth(path: &str) -> usize {
    path.trim_end_matches("/mod.rs").split('/').count()
}

fn upward_imports(path: &str, layer: &str, code: &str) -> Vec<String> {
    let Some(own) = LAYERS.iter().position(|name| *name == layer) else { return Vec::new() };
    let mut used = paths(code, "crate");
    used.extend(paths(code, "chsnap"));
    // `super::` once for each level leads to the root as well.
    used.extend(paths(code, &vec!["super"; depth(path)].join("::")));
    let above =
        used.into_iter().filter(|name| LAYERS.iter().position(|other| other == name).is_some_and(|at| at < own));
    above.map(|name| format!("uses {name}, a layer above {layer}")).collect()
}

fn sources(dir: &Path, all: &mut Vec<(String, String)>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(dir).expect("src/ is readable") {
        let path = entry.expect("src/ is readable").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(&root).expect("it is in src/").to_string_lossy().into_owned();
            all.push((relative, fs::read_to_string(&path).expect("a source is text")));
        }
    }
}

#[test]
fn every_source_keeps_to_its_layer() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    for layer in LAYERS {
        assert!(all.iter().any(|(path, _)| path.split(['/', '.']).next() == Some(layer)), "src/ has no {layer}");
    }
    let found: Vec<String> = all
        .iter()
        .flat_map(|(path, text)| findings(path, text).into_iter().map(move |finding| format!("src/{path}: {finding}")))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The files and folders of a folder, each with those of its neighbors that it imports.
fn neighbors(folder: &str, all: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let inside = || all.iter().filter_map(|(path, text)| Some((path.strip_prefix(&prefix)?, text)));
    let module = |rest: &str| rest.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    let is_own = |name: &str| matches!(name, "mod" | "lib" | "main" | "tests");
    let names: BTreeSet<String> = inside().map(|(rest, _)| module(rest)).filter(|name| !is_own(name)).collect();
    let mut imports: BTreeMap<String, BTreeSet<String>> =
        names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (rest, text) in
        inside().filter(|(rest, _)| !rest.split('/').any(|part| part.trim_end_matches(".rs") == "tests"))
    {
        let code = without_comments(production(text));
        // As many times `super::` as lead from the file to the folder, or its whole path.
        let relative = vec!["super"; depth(rest)].join("::");
        let whole = format!("crate::{}", folder.replace('/', "::"));
        let used = paths(&code, &relative).into_iter().chain(paths(&code, whole.trim_end_matches("::")));
        if let Some(own) = imports.get_mut(&module(rest)) {
            own.extend(used.filter(|name| names.contains(name) && *name != module(rest)));
        }
    }
    imports
}

/// Modules that import each other, over however many others.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut left = imports.clone();
    // What imports none of those that are left is in no circle.
    while let Some(name) =
        left.iter().find(|(_, used)| !used.iter().any(|name| left.contains_key(name))).map(|(name, _)| name.clone())
    {
        left.remove(&name);
    }
    // Nor what none of those imports.
    while let Some(name) = left.keys().find(|name| !left.values().any(|used| used.contains(*name))).cloned() {
        left.remove(&name);
    }
    left.into_keys().collect()
}

#[test]
fn no_folder_has_a_circle_of_imports() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let folders: BTreeSet<&str> = all.iter().filter_map(|(path, _)| Some(path.rsplit_once('/')?.0)).collect();
    assert!(folders.contains("ops/restore") && folders.contains("plan/restore"), "{folders:?}");
    for folder in folders {
        assert_eq!(circle(&neighbors(folder, &all)), [""; 0], "src/{folder}");
    }
}

#[test]
fn every_layer_is_declared_by_the_library_or_the_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(&root).expect("src/ is readable") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".rs");
        assert!(matches!(stem, "lib" | "main") || LAYERS.contains(&stem), "src/{name} is in no layer");
    }
}

#[test]
fn what_breaks_a_rule_is_found() {
    let bad: [(&str, &str, &str); 26] = [
        ("model/part.rs", "use crate::plan::Scope;", "a layer above model"),
        ("model/part.rs", "fn f() { crate::repo::x(); }", "uses repo"),
        ("plan/create.rs", "use crate::{\n    fs::{self, Dir},\n    model::Part,\n};", "uses fs"),
        ("plan/create.rs", "use crate::{model::{A, B}, exec};", "uses exec"),
        ("repo/index.rs", "use chsnap::ops::list;", "uses ops"),
        ("repo/index.rs", "use super::super::exec::pool;", "uses exec"),
        ("ops/create/mod.rs", "use super::super::cli::Output;", "uses cli"),
        ("ops/create/disks.rs", "use super::super::super::cli::Output;", "uses cli"),
        ("monitor.rs", "use super::plan::Scope;", "uses plan"),
        ("server/sql.rs", "use crate::repo::Locked;", "a layer above server"),
        ("repo/lock.rs", "use nix::unistd::getpid;", "uses nix"),
        ("cli/signals.rs", "rustix::process::kill();", "uses rustix"),
        ("exec/scan.rs", "use jwalk;", "uses jwalk"),
        ("ops/read.rs", "fn f() { println!(\"x\"); }", "println!"),
        ("exec/mod.rs", "eprint!(\"x\");", "eprint!"),
        ("repo/lock.rs", "dbg!(x);", "dbg!"),
        ("ops/read.rs", "std::io::stdout().flush();", "stdout()"),
        ("repo/journal.rs", "let now = chrono::Utc::now();", "Utc::now"),
        ("ops/init.rs", "let now = std::time::SystemTime::now();", "SystemTime::now"),
        ("repo/trash.rs", "std::fs::remove_dir_all(path)?;", "remove_dir_all"),
        ("repo/trash.rs", "use std::fs::{self, File, rename};", "rename"),
        ("cli/gc.rs", "use std::fs;\nfs::write(path, text)?;", "by write"),
        ("exec/live.rs", "std::os::unix::fs::symlink(a, b)?;", "symlink"),
        ("repo/lock.rs", "let file = File::create(path)?;", "File::create"),
        ("main.rs", "println!(\"x\");", "println!"),
        ("repo/index.rs", "std::env::var_os(\"HOME\");", "env::var_os"),
    ];
    for (path, text, expected) in bad {
        let found = findings(path, text).join("; ");
        assert!(found.contains(expected), "{path}: {text:?} gives {found:?}, not {expected:?}");
    }
}

#[test]
fn what_keeps_to_the_rules_passes() {
    let good: [(&str, &str); 13] = [
        ("ops/read.rs", "use crate::repo::Index;\nuse crate::{fs, model::{SnapshotId, Label}};"),
        ("exec/place.rs", "use crate::fs::{Dir, Entry};\nuse super::ExecError;"),
        ("ops/create/disks.rs", "use super::super::recover::sweep;"),
        ("fs/mutations.rs", "use nix::fcntl;\nuse rustix::io::Errno;\nstd::fs::rename(a, b)?;"),
        ("cli/output.rs", "use std::io::stdout;\nlet now = Utc::now();\nstdout().lock();"),
        ("model/label.rs", "use std::os::unix::ffi::OsStrExt;"),
        ("repo/index.rs", "fs::create_path(path, 0o700)?;\nself.dir.remove_file(name)?;\nself.dir.rename_from(a, b)?;"),
        ("ops/create/guards.rs", "std::fs::canonicalize(path)?;\nstd::fs::read_to_string(path)?;"),
        (
            "plan/create.rs",
            "//! Not by `crate::fs`, and no println!() or Utc::now\nuse crate::model::Part; // rustix::x",
        ),
        ("server/transport.rs", "let url = \"http://127.0.0.1\"; let now = Instant::now();"),
        ("plan/pattern.rs", "#[cfg(test)]\nmod tests {\n    use crate::repo::Index;\n    fn f() { println!(); }\n}"),
        ("checksums/tests/hostile.rs", "fs::write(path, text);"),
        ("ops/mod.rs", "let pretty = my_println!(x); unix::x(); let knix = 1;"),
    ];
    for (path, text) in good {
        assert_eq!(findings(path, text), [""; 0], "{path}: {text:?}");
    }
}

#[test]
fn code_behind_a_declared_module_of_tests_is_still_looked_at() {
    let text = "#[cfg(test)]\nmod tests;\nfn f() { println!(\"x\"); }";
    assert_eq!(findings("checksums/mod.rs", text).len(), 1);
}
