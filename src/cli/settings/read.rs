//! Parses one TOML file into settings, each with its line.

use std::collections::BTreeMap;
use std::path::Path;

use chsnap::plan::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{KeyShape, OptionKey, Schema, only_by_hand};
use super::{ConfigProblem, Configuration, ConfiguredValue, GLOBAL, Layer, Section, ValueOrigin};

/// The answer to a password in a file.
const NO_PASSWORD: &str = "a configuration file never contains a password: name a file with password_file, or set \
    CHSNAP_PASSWORD, or let systemd load the credential clickhouse-password";

struct ConfigReader<'a> {
    path: &'a Path,
    text: &'a str,
    schema: &'a Schema,
    problems: Vec<ConfigProblem>,
}

/// Reads a file; its settings override those of weaker files.
pub(super) fn file(path: &Path, text: &str, schema: &Schema, settings: &mut Configuration) {
    let mut reader = ConfigReader { path, text, schema, problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => reader.top(table.get_ref(), settings),
        Err(error) => reader.problem(error.span().map_or(0, |span| span.start), error.message().to_owned()),
    }
    settings.problems.append(&mut reader.problems);
}

impl ConfigReader<'_> {
    fn origin(&self, at: usize) -> ValueOrigin {
        let before = self.text.as_bytes().iter().take(at);
        ValueOrigin { file: self.path.to_owned(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }

    fn problem(&mut self, at: usize, message: String) {
        let problem = ConfigProblem { origin: self.origin(at), message };
        self.problems.push(problem);
    }

    fn top(&mut self, table: &DeTable<'_>, settings: &mut Configuration) {
        let mut layer = Layer::default();
        for (key, value) in table {
            if key.get_ref() != "profile" {
                self.entry(key, value, &mut layer, None);
                continue;
            }
            let DeValue::Table(profiles) = value.get_ref() else {
                self.problem(key.span().start, "profile is a table: write [profile.NAME]".to_owned());
                continue;
            };
            for (name, value) in profiles {
                let DeValue::Table(entries) = value.get_ref() else {
                    let message = format!("{} is no profile: write [profile.NAME], and its keys below", name.get_ref());
                    self.problem(name.span().start, message);
                    continue;
                };
                let mut own = Layer::default();
                for (key, value) in entries {
                    self.entry(key, value, &mut own, Some(name.get_ref()));
                }
                settings.profiles.entry(name.get_ref().to_string()).or_default().overlay(&own);
            }
        }
        settings.base.overlay(&layer);
    }

    /// A key for all commands, or the section of one.
    fn entry(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        layer: &mut Layer,
        profile: Option<&str>,
    ) {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        let DeValue::Table(entries) = value.get_ref() else {
            let section = layer.sections.entry(GLOBAL.to_owned()).or_default();
            return self.setting(GLOBAL, profile, (name, at), value, section);
        };
        if self.schema.section(name).is_none() {
            let names: Vec<&str> = self.schema.section_names().collect();
            let written = section_name(name, profile);
            let message = match nearest(name, &names) {
                Some(near) => format!("unknown section [{written}]: did you mean [{}]?", section_name(near, profile)),
                None => {
                    format!("unknown section [{written}]: a section is named like a command ({})", names.join(", "))
                }
            };
            return self.problem(at, message);
        }
        let section = layer.sections.entry(name.to_owned()).or_default();
        for (key, value) in entries {
            self.setting(name, profile, (key.get_ref(), key.span().start), value, section);
        }
    }

    fn setting(
        &mut self,
        section_of: &str,
        profile: Option<&str>,
        (name, at): (&str, usize),
        value: &Spanned<DeValue<'_>>,
        section: &mut Section,
    ) {
        let empty = BTreeMap::new();
        let keys = self.schema.section(section_of).unwrap_or(&empty);
        let Some(key) = keys.get(name) else {
            let message = self.unknown(section_of, profile, name, keys);
            return self.problem(at, message);
        };
        match values(key, value.get_ref()) {
            Ok(values) => match values.iter().find_map(|value| key.refusal(value)) {
                Some(refusal) => self.problem(value.span().start, refusal),
                None => {
                    section.insert(name.to_owned(), ConfiguredValue { values, origin: self.origin(at) });
                }
            },
            Err(expected) => self.problem(value.span().start, format!("{name} takes {expected}")),
        }
    }

    fn unknown(&self, section: &str, profile: Option<&str>, name: &str, keys: &BTreeMap<String, OptionKey>) -> String {
        if name == "password" {
            return NO_PASSWORD.to_owned();
        }
        if only_by_hand(name) {
            return format!("{name} is accepted only on a command line, never in a configuration file");
        }
        let place = |section: &str| match (section, profile) {
            (GLOBAL, None) => "at the top of the file".to_owned(),
            (GLOBAL, Some(profile)) => format!("in [profile.{profile}]"),
            (section, _) => format!("in [{}]", section_name(section, profile)),
        };
        let elsewhere = self.schema.sections_with(name);
        if !elsewhere.is_empty() {
            let places: Vec<String> = elsewhere.into_iter().map(place).collect();
            return format!("{name} does not belong {}, but {}", place(section), places.join(" or "));
        }
        let unknown = format!("unknown key {name} {}", place(section));
        if let Some(near) = nearest(name, keys.keys()) {
            return format!("{unknown}: did you mean {near}?");
        }
        let all = self.schema.section_names().chain([GLOBAL]);
        let everywhere = all.filter_map(|other| Some((other, self.schema.section(other)?)));
        let everywhere = everywhere.flat_map(|(other, keys)| keys.keys().map(move |key| (other, key.as_str())));
        let candidates: Vec<(&str, &str)> = everywhere.collect();
        match nearest(name, candidates.iter().map(|(_, key)| *key)) {
            Some(near) => {
                let of = candidates.iter().find(|(_, key)| *key == near).map_or(GLOBAL, |(section, _)| *section);
                format!("{unknown}: did you mean {near}, {}?", place(of))
            }
            None => unknown,
        }
    }
}

fn section_name(section: &str, profile: Option<&str>) -> String {
    profile.map_or_else(|| section.to_owned(), |profile| format!("profile.{profile}.{section}"))
}

/// The values in the form for a command line; the error says what the key accepts instead.
fn values(key: &OptionKey, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match (key.shape(), value) {
        (KeyShape::Switch, DeValue::Boolean(value)) => Ok(vec![value.to_string()]),
        (KeyShape::Switch, _) => Err("true or false"),
        (KeyShape::Count, DeValue::Integer(_)) => one(value).ok_or("a number").map(|one| vec![one]),
        (KeyShape::Count, _) => Err("a number"),
        (KeyShape::One, value) => one(value).ok_or("one text or number").map(|one| vec![one]),
        (KeyShape::Many, DeValue::Array(values)) => {
            let all: Option<Vec<String>> = values.iter().map(|value| one(value.get_ref())).collect();
            all.ok_or("texts, or an array of them")
        }
        (KeyShape::Many, value) => one(value).ok_or("texts, or an array of them").map(|one| vec![one]),
    }
}

fn one(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
