//! Breaks one-line statements into lines, so that a diff shows the column or clause that changed.

/// Words that begin a line outside all brackets.
const LINE_WORDS: [&str; 24] = [
    "ENGINE",
    "PARTITION",
    "PRIMARY",
    "ORDER",
    "SAMPLE",
    "UNIQUE",
    "TTL",
    "SETTINGS",
    "COMMENT",
    "SOURCE",
    "LAYOUT",
    "LIFETIME",
    "RANGE",
    "REFRESH",
    "TO",
    "SELECT",
    "FROM",
    "PREWHERE",
    "WHERE",
    "GROUP",
    "HAVING",
    "LIMIT",
    "UNION",
    "DEFINER",
];

/// Breaks a statement into lines, much as ClickHouse writes its files: one line for each column and each clause.
///
/// Only spaces outside quotes become line breaks, so two statements that differ in anything else still differ.
pub(super) fn break_into_lines(statement: &str) -> String {
    let mut layout = DefinitionLayout::default();
    let mut rest = statement;
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '\'' | '"' | '`' => quoted_length(rest, letter),
            letter if is_word(letter) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
            letter => letter.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length);
        layout.push(piece, behind);
        rest = behind;
    }
    layout.text.trim_end().to_owned() + "\n"
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The length of a quoted text, with its quotes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            letter if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[derive(Default)]
struct DefinitionLayout {
    text: String,
    depth: usize,
    /// Whether the current brackets are those of the columns.
    in_columns: bool,
    /// Whether a clause has begun: the brackets that follow do not belong to the columns.
    is_behind_columns: bool,
}

impl DefinitionLayout {
    fn push(&mut self, piece: &str, behind: &str) {
        match piece {
            "(" if self.depth == 0 && !self.is_behind_columns => {
                self.in_columns = true;
                self.is_behind_columns = true;
                self.depth += 1;
                self.break_line("(\n    ");
            }
            ")" if self.depth == 1 && self.in_columns => {
                self.in_columns = false;
                self.depth = 0;
                self.break_line(")");
            }
            "," if self.depth == usize::from(self.in_columns) => self.text.push_str(",\n    "),
            " " if self.text.ends_with([' ', '\n']) => {}
            _ => {
                match piece {
                    "(" | "[" | "{" => self.depth += 1,
                    ")" | "]" | "}" => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                if self.depth == 0 && self.begins_line(piece, behind) {
                    self.is_behind_columns = true;
                    self.break_line("");
                }
                self.text.push_str(piece);
            }
        }
    }

    /// Whether a word begins a clause: `SELECT` stays on the line of its `AS`.
    fn begins_line(&self, word: &str, behind: &str) -> bool {
        if word == "AS" {
            return ["SELECT", "WITH"].iter().any(|next| behind.trim_start().starts_with(next));
        }
        LINE_WORDS.contains(&word) && !self.text.trim_end().ends_with("AS")
    }

    fn break_line(&mut self, next: &str) {
        self.text.truncate(self.text.trim_end().len());
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::break_into_lines;

    #[test]
    fn columns_and_clauses_have_lines_of_their_own() {
        for (statement, lines) in [
            (
                "ATTACH TABLE _ (`id` UInt64, `d` Decimal(9, 2) DEFAULT f(1, 2)) ENGINE = MergeTree ORDER BY (id, d) \
                 SETTINGS a = 1, b = 2",
                "ATTACH TABLE _\n(\n    `id` UInt64,\n    `d` Decimal(9, 2) DEFAULT f(1, 2)\n)\nENGINE = MergeTree\n\
                 ORDER BY (id, d)\nSETTINGS a = 1,\n    b = 2\n",
            ),
            (
                "ATTACH VIEW _ (`a, (b` UInt8) AS SELECT a, 'it\\'s, (' AS b FROM d.t WHERE a IN (1, 2)",
                "ATTACH VIEW _\n(\n    `a, (b` UInt8\n)\nAS SELECT a,\n    'it\\'s, (' AS b\nFROM d.t\nWHERE a IN (1, 2)\n",
            ),
            ("ATTACH DATABASE _ ENGINE = Lazy(1, 2)", "ATTACH DATABASE _\nENGINE = Lazy(1, 2)\n"),
        ] {
            assert_eq!(break_into_lines(statement), lines);
        }
    }

    proptest! {
        #[test]
        fn nothing_but_space_is_added_or_lost(statement in "([a-c ,()'\\\\`]|ENGINE|AS SELECT|é){0,40}") {
            let solid = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(solid(&break_into_lines(&statement)), solid(&statement));
        }
    }
}
