//! Examples below the help of the commands whose own file has none.

use clap::Command;

use super::help::MORE;

const EXAMPLES: [(&str, &str); 20] = [
    ("init", "chsnap init --repo /var/lib/clickhouse/chsnap"),
    (
        "list",
        "chsnap list\nchsnap list --last 7 --table posthog.events\nchsnap list --since 30d\nchsnap list --json | jq -r '.snapshots[].id'",
    ),
    ("show", "chsnap show\nchsnap show latest~1\nchsnap show 2026-11-22"),
    ("rm", "chsnap rm 2026-11-01T020000Z\nchsnap rm latest~3 latest~4 && chsnap gc"),
    ("undo", "chsnap undo\nchsnap undo 2026-11-01T020000Z"),
    ("gc", "chsnap gc"),
    ("diff", "chsnap diff latest~1 latest\nchsnap diff latest"),
    ("usage", "chsnap usage\nchsnap usage --by table\nchsnap usage --freed 2026-11-01T020000Z..2026-11-07T020000Z"),
    (
        "prune",
        "chsnap prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run\nchsnap prune --free 200GiB --yes",
    ),
    ("simulate", "chsnap simulate --keep-daily 7 --keep-weekly 4"),
    ("pin", "chsnap pin latest --reason 'before the upgrade'"),
    ("unpin", "chsnap unpin latest"),
    ("verify", "chsnap verify\nchsnap verify latest --level data"),
    (
        "restore",
        "chsnap restore latest --table 'posthog.events' --dry-run\nchsnap restore 2026-11-22 --rename 'posthog.events=posthog.events_back'",
    ),
    ("drill", "chsnap drill"),
    (
        "completions",
        "chsnap completions bash > ~/.local/share/bash-completion/completions/chsnap\nchsnap completions zsh > ~/.zfunc/_chsnap\nchsnap completions fish > ~/.config/fish/completions/chsnap.fish",
    ),
    ("man", "chsnap man | man -l -\nchsnap man /usr/local/share/man/man1"),
    ("schema", "chsnap schema ./schema"),
    ("unlock", "chsnap unlock\nchsnap unlock --break"),
    ("help", "chsnap help create\nchsnap help options"),
];

/// Adds the examples, and adds to each short help where the options of every command are described.
pub(super) fn attach(command: Command) -> Command {
    with_more(command.mut_subcommands(|sub| with_more(with_examples(sub))))
}

fn with_more(command: Command) -> Command {
    let Some(after) = command.get_after_help().map(|text| text.ansi().to_string()) else {
        return command.after_help(MORE).after_long_help("");
    };
    command.after_help(format!("{after}\n\n{MORE}")).after_long_help(after)
}

fn with_examples(sub: Command) -> Command {
    let own = EXAMPLES.iter().find(|(name, _)| *name == sub.get_name());
    match own {
        Some((_, lines)) if sub.get_after_help().is_none() => {
            let lines: Vec<String> = lines.lines().map(|line| format!("  {line}")).collect();
            sub.after_help(format!("Examples:\n{}", lines.join("\n")))
        }
        _ => sub,
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    fn examples(command: &Command) -> Vec<String> {
        let text = command.get_after_long_help().or_else(|| command.get_after_help());
        let text = text.map(ToString::to_string).unwrap_or_default();
        let Some((_, lines)) = text.split_once("Examples:\n") else { return Vec::new() };
        lines.lines().map(str::trim).filter(|line| line.starts_with("chsnap ")).map(str::to_owned).collect()
    }

    /// The words of the first command of a line.
    fn words(line: &str) -> Vec<String> {
        let words = shlex::split(line).unwrap_or_else(|| panic!("{line:?} is no line of a shell"));
        words.into_iter().take_while(|word| !matches!(word.as_str(), "|" | "&&" | ">" | "2>")).collect()
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_is_a_command_line() {
        let tree = super::super::tree();
        let mut all = vec![&tree];
        while let Some(command) = all.pop() {
            all.extend(command.get_subcommands());
            let examples = examples(command);
            let is_leaf = command.get_subcommands().next().is_none();
            assert!(!is_leaf || !examples.is_empty(), "{} has no examples", command.get_name());
            for line in examples.into_iter().filter(|line| line != "chsnap help options") {
                let read = tree.clone().try_get_matches_from(words(&line));
                assert!(read.is_ok(), "{line}: {}", read.err().map(|error| error.to_string()).unwrap_or_default());
            }
        }
    }
}
