//! Tables and paragraphs for a terminal of any width. Pure: text in, lines out.
//!
//! docs/decisions/0038-terminal-and-documents.md has the rules.

use anstyle::Style;
use unicode_width::UnicodeWidthChar as _;
use unicode_width::UnicodeWidthStr as _;

/// The number of terminal columns for which a text is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Width {
    /// No terminal: nothing is cut, dropped or wrapped.
    #[default]
    Unlimited,
    /// This number of columns.
    Columns(usize),
}

impl Width {
    pub(super) fn has_room_for(self, columns: usize) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Columns(most) => columns <= most,
        }
    }
}

/// A column's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A column, and how it may shrink on a narrow terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    align: Align,
    /// The width to which its middle may be cut.
    floor: Option<usize>,
    /// Its place in the order in which columns are dropped, the lowest first.
    order: Option<u8>,
}

/// A column of words, never cut.
pub(super) const fn left(title: &'static str) -> Column {
    Column { title, align: Align::Left, floor: None, order: None }
}

/// A column of figures, never cut.
pub(super) const fn right(title: &'static str) -> Column {
    Column { title, align: Align::Right, floor: None, order: None }
}

/// The shortest length to which a name is cut in the middle before columns are dropped instead.
const NAME: usize = 26;

/// Letters of an engine that remain: the length of ReplicatedMergeTree.
pub(super) const ENGINE: usize = 19;

/// A column of names: their middles may be cut, and `.inner_id.<uuid>` is shortened.
pub(super) const fn name(title: &'static str) -> Column {
    Column { floor: Some(NAME), ..left(title) }
}

impl Column {
    pub(super) const fn cut_to(self, floor: usize) -> Self {
        Self { floor: Some(floor), ..self }
    }

    pub(super) const fn dropped(self, order: u8) -> Self {
        Self { order: Some(order), ..self }
    }
}

#[derive(Clone, Debug)]
struct LayoutRow {
    cells: Vec<String>,
    notes: Vec<String>,
}

/// Between two columns.
const GAP: usize = 2;
/// Before a note on a line of its own.
const INDENT: usize = 4;
/// The shortest length of a name on the narrowest terminals.
const LEAST: usize = 4;

/// A table without lines, its header bold.
#[derive(Clone, Debug)]
pub(super) struct TextTable {
    columns: Vec<Column>,
    notes_title: &'static str,
    rows: Vec<LayoutRow>,
}

impl TextTable {
    pub(super) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), notes_title: "NOTES", rows: Vec::new() }
    }

    /// Sets the title of the notes.
    pub(super) fn with_notes_named(self, notes_title: &'static str) -> Self {
        Self { notes_title, ..self }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn add(&mut self, cells: Vec<String>) {
        self.add_with_notes(cells, Vec::new());
    }

    /// Adds a row with notes about it.
    pub(super) fn add_with_notes(&mut self, cells: Vec<String>, notes: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        let notes = notes.into_iter().filter(|note| !note.is_empty()).collect();
        self.rows.push(LayoutRow { cells, notes });
    }

    /// The table as text, its header styled.
    pub(super) fn render(&self, width: Width) -> String {
        let table = self.as_wanted(width);
        let natural = table.natural_widths();
        if table.rows.iter().all(|row| row.notes.is_empty()) {
            if width.has_room_for(sum(&natural)) {
                return lines(&table, &natural, None, width);
            }
        } else {
            let notes = table.rows.iter().map(|row| row.notes.join("; ").width()).max().unwrap_or(0);
            let notes = notes.max(table.notes_title.width());
            if width.has_room_for(sum(&natural) + if natural.is_empty() { 0 } else { GAP } + notes) {
                return lines(&table, &natural, Some(NotesPlace::Column), width);
            }
        }
        let Width::Columns(most) = width else { return String::new() };
        let kept = table.kept(&natural, most);
        let table = table.with_columns(&kept);
        let widths = table.shrunk(most);
        lines(&table, &widths, Some(NotesPlace::OwnLines), width)
    }

    /// The table without columns that are empty in all rows, and with short names on a terminal.
    fn as_wanted(&self, width: Width) -> Self {
        let is_used = |index: &usize| {
            self.columns.get(*index).is_some_and(|column| column.order.is_none())
                || self.rows.is_empty()
                || self.rows.iter().any(|row| row.cells.get(*index).is_some_and(|cell| !cell.is_empty()))
        };
        let kept: Vec<usize> = (0..self.columns.len()).filter(is_used).collect();
        let mut table = self.with_columns(&kept);
        if width != Width::Unlimited {
            for row in &mut table.rows {
                for (cell, column) in row.cells.iter_mut().zip(&table.columns) {
                    if column.floor.is_some() {
                        *cell = short_inner(cell);
                    }
                }
            }
        }
        table
    }

    fn with_columns(&self, kept: &[usize]) -> Self {
        let cells =
            |row: &LayoutRow| kept.iter().map(|index| row.cells.get(*index).cloned().unwrap_or_default()).collect();
        Self {
            columns: kept.iter().filter_map(|index| self.columns.get(*index).copied()).collect(),
            notes_title: self.notes_title,
            rows: self.rows.iter().map(|row| LayoutRow { cells: cells(row), notes: row.notes.clone() }).collect(),
        }
    }

    fn natural_widths(&self) -> Vec<usize> {
        let width = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(index)).map(|cell| cell.width());
            cells.max().unwrap_or(0).max(column.title.width())
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// The columns that remain after enough were dropped for names to fit at their floors.
    fn kept(&self, natural: &[usize], most: usize) -> Vec<usize> {
        let least = |index: &usize| {
            let natural = natural.get(*index).copied().unwrap_or(0);
            self.columns.get(*index).map_or(natural, |column| column.least(natural))
        };
        let mut kept: Vec<usize> = (0..self.columns.len()).collect();
        while sum(&kept.iter().map(least).collect::<Vec<_>>()) > most {
            let order = |index: &usize| Some((self.columns.get(*index)?.order?, *index));
            let Some((_, first)) = kept.iter().filter_map(order).min() else { break };
            kept.retain(|index| *index != first);
        }
        kept
    }

    /// Column widths that fit into `most` columns, if names can be cut enough.
    fn shrunk(&self, most: usize) -> Vec<usize> {
        let mut widths = self.natural_widths();
        let natural = widths.clone();
        let floors = |least: fn(&Column, usize) -> usize| -> Vec<usize> {
            self.columns.iter().zip(&natural).map(|(column, natural)| least(column, *natural)).collect()
        };
        for floors in [floors(Column::least), floors(Column::minimum_width)] {
            while sum(&widths) > most {
                let wider = widths.iter_mut().zip(&floors).filter(|(width, floor)| **width > **floor);
                let Some((width, _)) = wider.max_by_key(|(width, _)| **width) else { break };
                *width -= 1;
            }
        }
        widths
    }
}

impl Column {
    fn least(&self, natural: usize) -> usize {
        self.floor.map_or(natural, |floor| floor.max(self.title.width()).min(natural))
    }

    fn minimum_width(&self, natural: usize) -> usize {
        if self.floor.is_some() { LEAST.max(self.title.width()).min(natural) } else { natural }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotesPlace {
    Column,
    OwnLines,
}

fn sum(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn padded(text: &str, width: usize, align: Align) -> String {
    // A name that was shortened already is cut once, not in two places.
    let text = if text.width() > width { fit(&text.replace('…', ""), width) } else { text.to_owned() };
    let blanks = " ".repeat(width.saturating_sub(text.width()));
    match align {
        Align::Left => text + &blanks,
        Align::Right => blanks + &text,
    }
}

fn lines(table: &TextTable, widths: &[usize], notes: Option<NotesPlace>, width: Width) -> String {
    let line = |cells: Vec<&str>, more: Option<&str>| {
        let cells = cells.into_iter().zip(widths).zip(&table.columns);
        let mut cells: Vec<String> = cells.map(|((cell, width), column)| padded(cell, *width, column.align)).collect();
        cells.extend(more.map(str::to_owned));
        let line = cells.join("  ");
        match width {
            Width::Unlimited => line.trim_end().to_owned(),
            Width::Columns(most) => cut_end(line.trim_end(), most).trim_end().to_owned(),
        }
    };
    let in_column = notes == Some(NotesPlace::Column);
    let titles = table.columns.iter().map(|column| column.title).collect();
    let bold = Style::new().bold();
    let mut text = format!("{bold}{}{bold:#}\n", line(titles, in_column.then_some(table.notes_title)));
    for row in &table.rows {
        let all_notes = row.notes.join("; ");
        let cells = row.cells.iter().map(String::as_str).collect();
        text += &line(cells, (in_column && !all_notes.is_empty()).then_some(&all_notes));
        text.push('\n');
        if notes == Some(NotesPlace::OwnLines) && !all_notes.is_empty() {
            text += &paragraph(&all_notes, width, INDENT, INDENT);
        }
    }
    text
}

/// `wrap` of one line; a text of several lines is wrapped line by line. Puts `first` blanks before its first line and
/// `next` before the others. Ends with a newline.
pub(super) fn paragraph(text: &str, width: Width, first: usize, next: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(first);
    let mut is_empty = true;
    let room = |indent: usize| match width {
        Width::Unlimited => usize::MAX,
        Width::Columns(most) => most.saturating_sub(indent).max(1),
    };
    let mut indent = first;
    let mut used = 0;
    for word in text.split(' ') {
        let mut rest = word;
        loop {
            let gap = usize::from(!is_empty);
            if used + gap + visible_width(rest) <= room(indent) {
                if !is_empty {
                    line.push(' ');
                }
                line.push_str(rest);
                used += gap + visible_width(rest);
                is_empty = false;
                break;
            }
            if is_empty {
                // No line has room for this word: breaking it at the end of this line is the only choice.
                let head = take_columns(rest, room(indent));
                line.push_str(head);
                rest = rest.get(head.len()..).unwrap_or_default();
            }
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(next);
            (indent, used, is_empty) = (next, 0, true);
            if rest.is_empty() {
                break;
            }
        }
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

/// Wraps each line of a text between words, and indents its continuation lines as the line itself.
pub(super) fn prose(text: &str, width: Width) -> String {
    let Width::Columns(most) = width else { return text.to_owned() };
    let wrapped = |line: &str| {
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        if visible_width(line) <= most {
            line.trim_end().to_owned() + "\n"
        } else {
            paragraph(words, width, indent, indent)
        }
    };
    text.lines().map(wrapped).collect()
}

/// The columns of a text, without the codes that color it.
fn visible_width(text: &str) -> usize {
    if text.contains('\u{1b}') { anstream::adapter::strip_str(text).to_string().width() } else { text.width() }
}

/// Names with a text about each: the names in one column, the texts wrapped in the other.
pub(super) fn facts(facts: &[(&str, String)], width: Width) -> String {
    let names = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line = |(name, text): &(&str, String)| {
        let indent = names + GAP;
        let rest = paragraph(text, width, indent, indent);
        let blanks = " ".repeat(names - name.width());
        format!("{name}{blanks}{}", rest.get(names..).unwrap_or("\n"))
    };
    facts.iter().map(line).collect()
}

/// The longest beginning that is at most `columns` columns wide, but at least one letter.
fn take_columns(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(at, letter)| {
        used += letter.width().unwrap_or(0);
        used > columns && *at > 0
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// A text cut at its end to at most `width` columns.
fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let head: String = text
        .chars()
        .take_while(|letter| {
            used += letter.width().unwrap_or(0);
            used <= width
        })
        .collect();
    if width == 0 { String::new() } else { head + "…" }
}

/// A text cut to at most `width` columns, in the middle, where two names are least likely to differ.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let take = |letters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let mut taken = Vec::new();
        for letter in letters {
            used += letter.width().unwrap_or(0);
            if used > room {
                break;
            }
            taken.push(letter);
        }
        taken
    };
    let head: String = take(&mut text.chars(), room.div_ceil(2)).into_iter().collect();
    let tail: String = take(&mut text.chars().rev(), room / 2).into_iter().rev().collect();
    if width == 0 { String::new() } else { format!("{head}…{tail}") }
}

const INNER: &str = ".inner_id.";
const UUID: usize = 36;
/// Digits of a UUID that identify an inner table.
const SHORT_UUID: usize = 8;

/// `db..inner_id.<uuid>` with only the first digits of the UUID.
fn short_inner(text: &str) -> String {
    let short = text.split_once(INNER).and_then(|(database, rest)| {
        let uuid = rest.get(..UUID)?;
        let is_uuid = uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let (head, behind) = (uuid.get(..SHORT_UUID)?, rest.get(UUID..)?);
        is_uuid.then(|| format!("{database}{INNER}{head}…{behind}"))
    });
    short.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn tables() -> TextTable {
        let mut table = TextTable::new([
            name("TABLE"),
            left("ENGINE").dropped(3),
            right("PARTS").dropped(2),
            right("FILES").dropped(1),
            right("SIZE"),
        ]);
        let row = |name: &str, files: &str| {
            [name, "ReplicatedReplacingMergeTree", "12", files, "1.2 GiB"].map(str::to_owned).to_vec()
        };
        table.add(row("shop.orders", "1,234"));
        table.add_with_notes(
            row("shop..inner_id.0123abcd-0000-1111-2222-333344445555", "7"),
            vec!["detached".to_owned(), "3 parts cannot be verified: no readable checksums".to_owned()],
        );
        table.add(row("posthog.sharded_session_replay_events_with_a_long_name", "99"));
        table
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_and_notes_are_in_the_row() {
        let text = plain(&tables().render(Width::Unlimited));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("TABLE ") && lines[0].ends_with("SIZE  NOTES"), "{text}");
        assert!(lines[2].contains("shop..inner_id.0123abcd-0000-1111-2222-333344445555 "), "{text}");
        assert!(lines[2].ends_with("detached; 3 parts cannot be verified: no readable checksums"), "{text}");
    }

    #[test]
    fn a_narrower_terminal_has_notes_below_and_then_fewer_columns() {
        let table = tables();
        let lines =
            |columns| plain(&table.render(Width::Columns(columns))).lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            lines(110),
            [
                "TABLE                                                   ENGINE                        PARTS  FILES     SIZE",
                "shop.orders                                             ReplicatedReplacingMergeTree     12  1,234  1.2 GiB",
                "shop..inner_id.0123abcd…                                ReplicatedReplacingMergeTree     12      7  1.2 GiB",
                "    detached; 3 parts cannot be verified: no readable checksums",
                "posthog.sharded_session_replay_events_with_a_long_name  ReplicatedReplacingMergeTree     12     99  1.2 GiB",
            ]
        );
        assert_eq!(
            lines(80),
            [
                "TABLE                        ENGINE                        PARTS  FILES     SIZE",
                "shop.orders                  ReplicatedReplacingMergeTree     12  1,234  1.2 GiB",
                "shop..inner_id.0123abcd…     ReplicatedReplacingMergeTree     12      7  1.2 GiB",
                "    detached; 3 parts cannot be verified: no readable checksums",
                "posthog.shard…h_a_long_name  ReplicatedReplacingMergeTree     12     99  1.2 GiB",
            ]
        );
        assert_eq!(
            lines(50),
            [
                "TABLE                                         SIZE",
                "shop.orders                                1.2 GiB",
                "shop..inner_id.0123abcd…                   1.2 GiB",
                "    detached; 3 parts cannot be verified: no",
                "    readable checksums",
                "posthog.sharded_sess…nts_with_a_long_name  1.2 GiB",
            ]
        );
    }

    #[test]
    fn an_empty_column_that_may_go_goes() {
        let mut table = TextTable::new([left("A"), left("B").dropped(1), left("C")]);
        table.add(vec!["1".to_owned(), String::new(), String::new()]);
        assert_eq!(plain(&table.render(Width::Unlimited)), "A  C\n1\n");
    }

    #[test]
    fn a_name_that_is_short_already_is_cut_once() {
        let mut table = TextTable::new([name("TABLE"), right("SIZE")]);
        table.add(vec!["posthog..inner_id.0123abcd-0000-1111-2222-333344445555".to_owned(), "1.2 GiB".to_owned()]);
        table.add(vec!["a_name_that_its_command_has_cut_to_forty…".to_owned(), "1.2 GiB".to_owned()]);
        for width in 14..80 {
            let text = plain(&table.render(Width::Columns(width)));
            assert!(text.lines().all(|line| line.matches('…').count() <= 1), "{width}: {text}");
        }
    }

    #[test]
    fn facts_hang_below_each_other() {
        let all = [("path", "/var/lib/x".to_owned()), ("verified", "data 3 d, slice 2/7".to_owned())];
        assert_eq!(facts(&all, Width::Unlimited), "path      /var/lib/x\nverified  data 3 d, slice 2/7\n");
        assert_eq!(facts(&all, Width::Columns(21)), "path      /var/lib/x\nverified  data 3 d,\n          slice 2/7\n");
    }

    #[test]
    fn prose_is_wrapped_between_words_and_keeps_its_indent() {
        assert_eq!(
            prose("one two three\n  four five six\n", Width::Columns(9)),
            "one two\nthree\n  four\n  five\n  six\n"
        );
        assert_eq!(prose("0123456789", Width::Columns(4)), "0123\n4567\n89\n");
    }

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(fit("posthog.sharded_events", 12), "postho…vents");
        assert_eq!(fit("short", 12), "short");
        assert_eq!(fit("データ", 4).width(), 3);
        assert_eq!(fit("x", 0), "");
        assert_eq!(short_inner("d..inner_id.not-a-uuid"), "d..inner_id.not-a-uuid");
    }

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{0,12}",
            "[0-9]{1,3}(,[0-9]{3}){0,3}",
            "[a-zデータé]{0,40}\\.[a-z_]{0,60}",
            Just("d..inner_id.0123abcd-0000-1111-2222-333344445555".to_owned()),
        ]
    }

    fn column() -> impl Strategy<Value = Column> {
        (any::<bool>(), proptest::option::of(4..40_usize), proptest::option::of(0..9_u8)).prop_map(
            |(is_left, floor, order)| Column { floor, order, ..if is_left { left("LEFT") } else { right("RIGHT") } },
        )
    }

    fn table() -> impl Strategy<Value = TextTable> {
        proptest::collection::vec(column(), 1..9).prop_flat_map(|columns| {
            let count = columns.len();
            let notes = proptest::collection::vec("[a-z ]{0,30}", 0..3);
            let rows = proptest::collection::vec((proptest::collection::vec(cell(), count), notes), 0..6);
            rows.prop_map(move |rows| {
                let mut table = TextTable::new(columns.clone());
                for (cells, notes) in rows {
                    table.add_with_notes(cells, notes);
                }
                table
            })
        })
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_terminal_or_ends_with_a_blank(table in table(), width in 1..200_usize) {
            for line in plain(&table.render(Width::Columns(width))).lines() {
                prop_assert!(line.width() <= width.max(INDENT + 2), "{width}: {line:?}");
                prop_assert!(!line.ends_with(' '), "{line:?}");
            }
        }

        #[test]
        fn required_columns_are_complete_if_there_is_room(table in table(), width in 1..200_usize) {
            let fixed: Vec<usize> = (0..table.columns.len())
                .filter(|index| table.columns[*index].order.is_none())
                .collect();
            let natural = table.natural_widths();
            let needed: Vec<usize> = fixed.iter().map(|index| table.columns[*index].minimum_width(natural[*index])).collect();
            prop_assume!(sum(&needed) <= width);
            let text = plain(&table.render(Width::Columns(width)));
            for index in fixed.into_iter().filter(|index| table.columns[*index].floor.is_none()) {
                for row in &table.rows {
                    prop_assert!(text.contains(row.cells[index].as_str()), "{text}\nlacks {:?}", row.cells[index]);
                }
            }
        }

        #[test]
        fn a_wider_terminal_has_no_fewer_columns(table in table(), width in 1..200_usize) {
            let titles = |width| {
                let wanted = table.as_wanted(Width::Columns(width));
                wanted.kept(&wanted.natural_widths(), width).len()
            };
            prop_assert!(titles(width) <= titles(width + 1));
        }

        #[test]
        fn no_word_of_a_paragraph_is_lost(text in "[a-z]{1,20}( [a-z]{1,20}){0,20}", width in 1..90_usize, indent in 0..9_usize) {
            let wrapped = paragraph(&text, Width::Columns(width), indent, indent);
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&wrapped), letters(&text));
            for line in wrapped.lines() {
                prop_assert!(line.width() <= width.max(indent + 1), "{line:?}");
            }
            if width > indent + 20 {
                let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                prop_assert_eq!(words(&wrapped), words(&text));
            }
        }
    }
}
