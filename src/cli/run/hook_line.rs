//! Determines which programs a shell line runs, if the line itself shows that.

use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;

/// The programs that a line runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HookLine {
    /// Programs and scripts that are named by a plain absolute path.
    pub(super) programs: Vec<PathBuf>,
    /// Words that name programs whose file is unknown before the shell runs.
    pub(super) unseen: Vec<Unseen>,
}

/// The word of a program whose file is unknown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unseen {
    /// The word, without its quotes.
    pub(super) word: String,
    pub(super) reason: &'static str,
}

const RELATIVE: &str = "is a relative path, which names another file in each working directory";
const HERE_DOCUMENT: &str = "is followed by a here-document, whose lines cannot be distinguished from commands";
const EXPANDED: &str = "is known only once the shell has read it";

/// A word without its quotes.
#[derive(Debug, Default, Clone)]
struct Word {
    text: String,
    /// Whether the shell changes it: variables, commands, backslashes.
    is_expanded: bool,
    /// Whether it contains a file name pattern.
    is_pattern: bool,
}

type Words = Vec<Word>;

/// Reads a line.
pub(super) fn read(line: &str) -> HookLine {
    let mut found = HookLine::default();
    read_into(line, &mut found);
    found
}

fn read_into(line: &str, found: &mut HookLine) {
    let mut commands = Vec::new();
    let mut here_documents = Vec::new();
    let mut reader =
        LineReader { rest: line.chars().peekable(), commands: &mut commands, here_documents: &mut here_documents };
    while reader.rest.peek().is_some() {
        reader.commands(None);
    }
    found.unseen.extend(here_documents.into_iter().map(|word| Unseen { word, reason: HERE_DOCUMENT }));
    for words in &commands {
        command(words, found);
    }
}

struct LineReader<'a> {
    rest: Peekable<Chars<'a>>,
    commands: &'a mut Vec<Words>,
    /// The programs that get a here-document.
    here_documents: &'a mut Vec<String>,
}

/// The command that is being parsed.
#[derive(Default)]
struct ParsedCommand {
    words: Words,
    word: Option<Word>,
    /// Whether the next word is a file of a redirection, and not a program.
    is_redirected: bool,
}

impl ParsedCommand {
    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.is_redirected)
        {
            self.words.push(word);
        }
    }
}

impl LineReader<'_> {
    /// Reads commands up to the end, or to the character that ends them.
    fn commands(&mut self, end: Option<char>) {
        let mut begun = ParsedCommand::default();
        while let Some(letter) = self.rest.next() {
            if Some(letter) == end {
                break;
            }
            match letter {
                ' ' | '\t' | '\r' => begun.end_word(),
                '\n' | ';' | '|' | '&' | ')' => self.end_command(&mut begun),
                '(' => {
                    self.end_command(&mut begun);
                    self.commands(Some(')'));
                }
                '#' if begun.word.is_none() => while self.rest.next_if(|letter| *letter != '\n').is_some() {},
                '<' | '>' => {
                    begun.end_word();
                    let mut operator = String::from(letter);
                    while let Some(letter) = self.rest.next_if(|letter| matches!(letter, '<' | '>' | '&' | '|')) {
                        operator.push(letter);
                    }
                    if operator == "<<" {
                        let program = begun.words.first().map_or(operator, |word| word.text.clone());
                        self.here_documents.push(program);
                    }
                    begun.is_redirected = true;
                }
                '\'' => {
                    let word = begun.word();
                    word.text.extend(self.rest.by_ref().take_while(|letter| *letter != '\''));
                }
                '"' => self.quoted(begun.word()),
                '\\' => match self.rest.next() {
                    Some('\n') | None => {}
                    Some(letter) => {
                        begun.word().text.push(letter);
                        begun.word().is_expanded = true;
                    }
                },
                '$' | '`' => self.expansion(letter, begun.word()),
                letter => {
                    begun.word().is_pattern |= matches!(letter, '*' | '?' | '[' | '~');
                    begun.word().text.push(letter);
                }
            }
        }
        self.end_command(&mut begun);
    }

    fn end_command(&mut self, begun: &mut ParsedCommand) {
        begun.end_word();
        let ParsedCommand { words, .. } = std::mem::take(begun);
        if !words.is_empty() {
            self.commands.push(words);
        }
    }

    /// Reads text between double quotes.
    fn quoted(&mut self, word: &mut Word) {
        while let Some(letter) = self.rest.next() {
            match letter {
                '"' => return,
                '\\' => match self.rest.next() {
                    Some('\n') | None => {}
                    Some(letter) => {
                        if !matches!(letter, '$' | '`' | '"' | '\\') {
                            word.text.push('\\');
                        }
                        word.text.push(letter);
                        word.is_expanded = true;
                    }
                },
                '$' | '`' => self.expansion(letter, word),
                letter => word.text.push(letter),
            }
        }
    }

    /// Reads an expansion after `$` or a backtick. Commands in it are commands of the line.
    fn expansion(&mut self, letter: char, word: &mut Word) {
        word.is_expanded = true;
        word.text.push(letter);
        if letter == '`' {
            return self.commands(Some('`'));
        }
        if self.rest.next_if_eq(&'{').is_some() {
            word.text.push('{');
            word.text.extend(self.rest.by_ref().take_while(|letter| *letter != '}'));
            word.text.push('}');
        } else if self.rest.next_if_eq(&'(').is_some() {
            if self.rest.next_if_eq(&'(').is_some() {
                // Arithmetic.
                let mut depth = 2;
                while depth > 0 {
                    match self.rest.next() {
                        Some('(') => depth += 1,
                        Some(')') => depth -= 1,
                        Some(_) => {}
                        None => return,
                    }
                }
            } else {
                self.commands(Some(')'));
            }
        }
    }
}

/// Words of the shell's grammar before a command.
const RESERVED: [&str; 11] = ["!", "{", "}", "if", "then", "elif", "else", "do", "while", "until", "time"];
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];
const INTERPRETERS: [&str; 7] = ["perl", "python", "python3", "ruby", "node", "php", "lua"];

/// A program that runs the command in its arguments.
struct Runner {
    name: &'static str,
    /// Letters of options that take a value.
    with_value: &'static str,
    /// The number of its own words before the command.
    operands: usize,
}

const fn runner(name: &'static str, with_value: &'static str, operands: usize) -> Runner {
    Runner { name, with_value, operands }
}

const RUNNERS: [Runner; 17] = [
    runner("builtin", "", 0),
    runner("chrt", "TPD", 1),
    runner("command", "", 0),
    runner("doas", "uC", 0),
    runner("env", "uC", 0),
    runner("exec", "a", 0),
    runner("flock", "wE", 1),
    runner("ionice", "cnpPu", 0),
    runner("nice", "n", 0),
    runner("nohup", "", 0),
    runner("runuser", "ugGsw", 0),
    runner("setsid", "", 0),
    runner("stdbuf", "ioe", 0),
    runner("sudo", "ughpCrtDRTU", 0),
    runner("taskset", "", 1),
    runner("timeout", "ks", 1),
    runner("xargs", "IinPdasLE", 0),
];

fn is_assignment(word: &Word) -> bool {
    let Some((name, _)) = word.text.split_once('=') else { return false };
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty() && name.chars().all(is_letter) && !name.starts_with(|letter: char| letter.is_ascii_digit())
}

/// Examines the words of one command.
fn command(words: &[Word], found: &mut HookLine) {
    let is_before = |word: &&Word| is_assignment(word) || RESERVED.contains(&word.text.as_str());
    let from = words.iter().take_while(is_before).count();
    // The number before a redirection.
    let is_number = |word: &Word| !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = words.get(from..).unwrap_or_default();
    let Some((program, rest)) = rest.split_first().filter(|(program, _)| !is_number(program)) else { return };
    file(program, program.text.contains('/'), found);
    let name = program.text.rsplit('/').next().unwrap_or_default();
    if matches!(name, "." | "source") {
        if let Some(script) = rest.first() {
            file(script, true, found);
        }
    } else if name == "eval" {
        let line: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
        read_into(&line.join(" "), found);
    } else if SHELLS.contains(&name) {
        shell(rest, found);
    } else if INTERPRETERS.contains(&name) {
        interpreter(rest, found);
    } else if let Some(runner) = RUNNERS.iter().find(|runner| runner.name == name) {
        run_by(runner, rest, found);
    }
}

/// Examines the word of a program or a script.
fn file(word: &Word, is_path: bool, found: &mut HookLine) {
    let unseen = |reason| Unseen { word: word.text.clone(), reason };
    if word.is_expanded || (is_path && word.is_pattern) {
        found.unseen.push(unseen(EXPANDED));
    } else if word.text.starts_with('/') {
        found.programs.push(PathBuf::from(&word.text));
    } else if is_path {
        found.unseen.push(unseen(RELATIVE));
    }
}

/// Whether an option with a single dash contains this letter.
fn has_letter(option: &str, letters: &str) -> bool {
    let short = option.strip_prefix(['-', '+']).filter(|rest| !rest.starts_with('-'));
    short.is_some_and(|short| short.contains(|letter| letters.contains(letter)))
}

fn is_option(word: &Word) -> bool {
    word.text.starts_with(['-', '+']) && word.text.len() > 1
}

/// Whether the value of an option is the next word.
fn takes_next(option: &str, letters: &str) -> bool {
    let is_long = option.starts_with("--");
    !is_long && option.chars().last().is_some_and(|letter| letters.contains(letter))
}

/// A script, or the commands after `-c`.
fn shell(words: &[Word], found: &mut HookLine) {
    let mut is_line = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if is_option(word) {
            is_line |= has_letter(&word.text, "c");
            if takes_next(&word.text, "oO") {
                words.next();
            }
        } else if is_line {
            return read_into(&word.text, found);
        } else {
            return file(word, true, found);
        }
    }
}

/// A script, unless the program text itself is in the line.
fn interpreter(words: &[Word], found: &mut HookLine) {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !is_option(word) {
            return file(word, true, found);
        }
        if has_letter(&word.text, "eEcmr") {
            return;
        }
        if takes_next(&word.text, "WXI") {
            words.next();
        }
    }
}

/// The command that another program runs.
fn run_by(runner: &Runner, words: &[Word], found: &mut HookLine) {
    let mut operands = runner.operands;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1);
        at += 1;
        let is_line = matches!((runner.name, word.text.as_str()), ("flock" | "runuser", "-c") | ("env", "-S"));
        if is_line {
            if let Some(line) = next {
                read_into(&line.text, found);
            }
            return;
        }
        if is_option(word) {
            at += usize::from(takes_next(&word.text, runner.with_value));
        } else if operands > 0 {
            operands -= 1;
        } else if !is_assignment(word) {
            return command(words.get(at - 1..).unwrap_or_default(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_programs_of_a_line_are_those_that_are_run_by_a_path() {
        for (line, programs) in [
            ("/usr/local/sbin/after --mail x/y", &["/usr/local/sbin/after"][..]),
            ("A=/b /opt/a && nice -n 10 sh /opt/b.sh >/tmp/log; echo /x", &["/opt/a", "/opt/b.sh"]),
            ("/usr/bin/env python3 '/opt/c.py'", &["/usr/bin/env", "/opt/c.py"]),
            ("sh -c '/opt/d --x'; timeout 10 /opt/e", &["/opt/d", "/opt/e"]),
            ("if /opt/a; then sudo -u root /opt/b; fi", &["/opt/a", "/opt/b"]),
            ("'/opt/with space/x' 2>&1 | logger", &["/opt/with space/x"]),
            ("echo \"$(/opt/a)\" $((4/2)) ${X:-a/b} # ./no", &["/opt/a"]),
            ("flock /run/x.lock -c '/opt/a'; (cd /x && /opt/b)", &["/opt/a", "/opt/b"]),
            ("echo 'a; ./b' > ./log; curl -d @x http://h/x; perl -e 'a/b'", &[]),
            ("[ \"$CHSNAP_RUN_STATE\" = success ] || mail -s x y", &[]),
            ("cp $CHSNAP_RUN_SUMMARY_FILE /srv/x; after", &[]),
            ("/opt/a <<<\"a word\"", &["/opt/a"]),
        ] {
            let found = read(line);
            let of: Vec<String> = found.programs.iter().map(|path| path.display().to_string()).collect();
            assert_eq!(
                (of.as_slice(), found.unseen),
                (&*programs.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), vec![]),
                "{line}"
            );
        }
    }

    #[test]
    fn a_program_whose_file_is_not_known_is_seen_as_such() {
        for (line, word) in [
            ("ow/h.sh", "ow/h.sh"),
            ("cd /x && ./h.sh", "./h.sh"),
            ("D=/x; $D/h.sh", "$D/h.sh"),
            ("h\\.sh", "h.sh"),
            ("/opt/h\\.sh", "/opt/h.sh"),
            ("\"$HOME/x\"", "$HOME/x"),
            ("`echo /opt`/x", "`/x"),
            ("~/x", "~/x"),
            ("/opt/*/x", "/opt/*/x"),
            ("X=./h.sh; $X", "$X"),
            ("sh h.sh", "h.sh"),
            (". ./h.sh", "./h.sh"),
            ("bash -ec 'echo; ./h.sh'", "./h.sh"),
            ("echo \"$(./h.sh)\"", "./h.sh"),
            ("env -C /x A=b ./h.sh", "./h.sh"),
            ("eval ./h.sh", "./h.sh"),
            ("'./h'.sh", "./h.sh"),
            ("if true; then { ./h.sh; }; fi", "./h.sh"),
            ("sudo -u root python3 -W ignore h.py", "h.py"),
            ("/usr/bin/mail root <<END\nrm is a word of this letter\nEND", "/usr/bin/mail"),
            ("/opt/a; cat <<-'E' | /opt/b\n./x\nE\n", "cat"),
        ] {
            let found = read(line).unseen;
            assert_eq!(found.first().map(|unseen| unseen.word.as_str()), Some(word), "{line}: {found:?}");
        }
    }
}
