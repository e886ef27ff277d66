//! The head of a definition: verb, kind, name, UUIDs, schedule and target.
//!
//! Source: `ASTCreateQuery::formatQueryImpl` and `ParserCreateQuery.cpp` of ClickHouse, and files of 18.16 and 26.9.

use crate::model::TableUuid;

use super::error::DefinitionError;
use super::reader::TokenReader;
use super::statements::single_statement;

/// The kind of object that a definition defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionKind {
    /// `TABLE`.
    Table,
    /// `VIEW`.
    View,
    /// `MATERIALIZED VIEW`.
    MaterializedView,
    /// `LIVE VIEW` or `WINDOW VIEW`.
    OtherView,
    /// `DICTIONARY`.
    Dictionary,
    /// `DATABASE`.
    Database,
}

/// The parsed head of a definition, and the text after it.
pub(super) struct DefinitionHead {
    pub(super) kind: DefinitionKind,
    /// The keywords of that kind: `LIVE VIEW`.
    pub(super) words: &'static str,
    pub(super) uuid: Option<TableUuid>,
    pub(super) inner_uuid: Option<TableUuid>,
    /// `REFRESH …`, `DEFINER … SQL SECURITY …` before the target.
    pub(super) schedule: String,
    pub(super) is_refreshable: bool,
    /// `TO database.table`, as text and as names.
    pub(super) target: Option<(String, (Option<String>, String))>,
    pub(super) tail: String,
}

const KINDS: [(&[&str], &str, DefinitionKind); 7] = [
    (&["MATERIALIZED", "VIEW"], "MATERIALIZED VIEW", DefinitionKind::MaterializedView),
    (&["LIVE", "VIEW"], "LIVE VIEW", DefinitionKind::OtherView),
    (&["WINDOW", "VIEW"], "WINDOW VIEW", DefinitionKind::OtherView),
    (&["VIEW"], "VIEW", DefinitionKind::View),
    (&["DICTIONARY"], "DICTIONARY", DefinitionKind::Dictionary),
    (&["DATABASE"], "DATABASE", DefinitionKind::Database),
    (&["TABLE"], "TABLE", DefinitionKind::Table),
];

/// Words that may follow a head, besides the bracket of the columns.
const TAIL_WORDS: [&str; 25] = [
    "ENGINE",
    "AS",
    "EMPTY",
    "POPULATE",
    "CLONE",
    "COMMENT",
    "PARTITION",
    "PRIMARY",
    "ORDER",
    "UNIQUE",
    "SAMPLE",
    "TTL",
    "SETTINGS",
    "SOURCE",
    "LAYOUT",
    "LIFETIME",
    "RANGE",
    "INNER",
    "WATERMARK",
    "ALLOWED_LATENESS",
    "DEFINER",
    "SQL",
    "TABLE",
    "TAGS",
    "SAMPLES",
];

const UNITS: [&str; 9] = ["SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "MILLISECOND"];

impl DefinitionHead {
    /// Parses the head of one statement.
    ///
    /// # Errors
    /// If the text is not one statement that begins like a definition.
    pub(super) fn parse(text: &str) -> Result<Self, DefinitionError> {
        const VERB: &str = "ATTACH or CREATE";
        let mut reader = TokenReader::new(single_statement(text, VERB)?);
        if !reader.takes(&["ATTACH"]) && !reader.takes(&["CREATE"]) {
            return Err(DefinitionError::Expected(VERB));
        }
        reader.takes(&["OR", "REPLACE"]);
        let found = KINDS.iter().find(|(keywords, ..)| reader.takes(keywords));
        let (_, words, kind) =
            *found.ok_or(DefinitionError::Expected("TABLE, VIEW, DICTIONARY or DATABASE behind ATTACH or CREATE"))?;
        reader.takes(&["IF", "NOT", "EXISTS"]);
        reader.qualified_name()?;
        let uuid = take_uuid(&mut reader, &["UUID"])?;
        if reader.takes(&["ON", "CLUSTER"]) {
            reader.next().ok_or(DefinitionError::Expected("the name of a cluster"))?;
        }
        let is_view =
            matches!(kind, DefinitionKind::View | DefinitionKind::MaterializedView | DefinitionKind::OtherView);
        let start = reader.offset();
        let is_refreshable = is_view && take_schedule(&mut reader, kind)?;
        let schedule = reader.since(start).to_owned();
        let is_target = is_view && reader.sees(&["TO"]) && !reader.sees(&["TO", "INNER", "UUID"]);
        let target = if is_target {
            let start = reader.offset();
            reader.takes(&["TO"]);
            let name = reader.qualified_name()?;
            Some((reader.since(start).to_owned(), name))
        } else {
            None
        };
        let inner_uuid = take_uuid(&mut reader, &["TO", "INNER", "UUID"])?;
        let is_tail = match reader.peek() {
            None => kind == DefinitionKind::Database,
            Some(token) => token.is_mark("(") || token.is_any(&TAIL_WORDS),
        };
        if !is_tail {
            return Err(DefinitionError::Expected("columns, ENGINE or AS behind the name"));
        }
        let tail = reader.rest().to_owned();
        Ok(Self { kind, words, uuid, inner_uuid, schedule, is_refreshable, target, tail })
    }
}

fn take_uuid(reader: &mut TokenReader<'_>, keywords: &[&str]) -> Result<Option<TableUuid>, DefinitionError> {
    if !reader.takes(keywords) {
        return Ok(None);
    }
    let wrong = DefinitionError::Expected("a UUID in quotes");
    let text = reader.next().and_then(|token| token.value()).ok_or(wrong)?;
    TableUuid::from_server(&text).map_err(|_| wrong)
}

/// Reads what precedes the target of a view. Returns whether it contains REFRESH.
fn take_schedule(reader: &mut TokenReader<'_>, kind: DefinitionKind) -> Result<bool, DefinitionError> {
    let mut is_refreshable = false;
    loop {
        if kind == DefinitionKind::MaterializedView && reader.takes(&["REFRESH"]) {
            take_refresh(reader)?;
            is_refreshable = true;
        } else if reader.takes(&["DEFINER"]) {
            reader.takes_mark("=");
            reader.next().ok_or(DefinitionError::Expected("a user behind DEFINER"))?;
            if reader.takes_mark("@") {
                reader.next();
            }
        } else if reader.takes(&["SQL", "SECURITY"]) {
            let known = ["DEFINER", "INVOKER", "NONE"].iter().any(|word| reader.takes(&[word]));
            if !known {
                return Err(DefinitionError::Expected("DEFINER, INVOKER or NONE behind SQL SECURITY"));
            }
        } else if kind == DefinitionKind::OtherView && reader.takes(&["WITH"]) {
            // LIVE VIEW … WITH TIMEOUT 5 AND REFRESH 10.
            while reader.peek().is_some_and(|token| token.depth() == 0 && !token.is_any(&["TO", "AS", "INNER"])) {
                reader.next();
            }
        } else {
            return Ok(is_refreshable);
        }
    }
}

/// Reads `EVERY|AFTER … [OFFSET …] [RANDOMIZE FOR …] [DEPENDS ON a.b, …] [SETTINGS …] [APPEND]`.
fn take_refresh(reader: &mut TokenReader<'_>) -> Result<(), DefinitionError> {
    if reader.takes(&["EVERY"]) || reader.takes(&["AFTER"]) {
        take_interval(reader)?;
    } else if !reader.sees(&["DEPENDS"]) {
        return Err(DefinitionError::Expected("EVERY or AFTER behind REFRESH"));
    }
    if reader.takes(&["OFFSET"]) {
        take_interval(reader)?;
    }
    if reader.takes(&["RANDOMIZE", "FOR"]) {
        take_interval(reader)?;
    }
    if reader.takes(&["DEPENDS", "ON"]) {
        reader.qualified_name()?;
        while reader.takes_mark(",") {
            reader.qualified_name()?;
        }
    }
    if reader.takes(&["SETTINGS"]) {
        loop {
            reader.name()?;
            if !reader.takes_mark("=") {
                return Err(DefinitionError::Expected("the value of a setting"));
            }
            reader.value()?;
            if !reader.takes_mark(",") {
                break;
            }
        }
    }
    reader.takes(&["APPEND"]);
    Ok(())
}

fn take_interval(reader: &mut TokenReader<'_>) -> Result<(), DefinitionError> {
    let is_interval = |reader: &TokenReader<'_>| {
        let is_number = reader.peek().is_some_and(|token| token.text.starts_with(|first: char| first.is_ascii_digit()));
        let unit = reader.ahead(1).map(|token| token.text.to_ascii_uppercase()).unwrap_or_default();
        is_number && UNITS.contains(&unit.strip_suffix('S').unwrap_or(&unit))
    };
    if !is_interval(reader) {
        return Err(DefinitionError::Expected("an interval"));
    }
    while is_interval(reader) {
        reader.next();
        reader.next();
    }
    Ok(())
}
