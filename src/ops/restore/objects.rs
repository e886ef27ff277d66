//! What tables need before them: databases, functions, named collections.

use crate::model::escape_for_file_name;
use crate::ops::error::OpError;
use crate::plan::{Definition, Mapping, RestorePlan, What};
use crate::server::{self, ServerError, sql};

use super::context::Context;
use super::statements::Statements;

/// What tables need before them, and what of it was made.
pub(super) struct Objects<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) plan: &'a RestorePlan,
    pub(super) statements: &'a Statements<'a>,
    pub(super) made: Vec<String>,
}

/// `UNKNOWN_DATABASE_ENGINE`: Ordinary databases, unless they are allowed by a setting.
const UNKNOWN_DATABASE_ENGINE: i32 = 336;

impl Objects<'_> {
    /// Makes the databases that are missing, each with an identity of its own: nothing in a snapshot refers to the UUID
    /// of a database, and that of a dropped one is not free until the server has removed it.
    pub(super) fn make_databases(&mut self) -> Result<(), OpError> {
        let context = self.context;
        for (name, from) in &self.plan.databases {
            let entry = context.source.manifest.databases.iter().find(|entry| entry.database == *from);
            let definition = match entry {
                Some(entry) => {
                    let text = context.source.metadata(&entry.definition)?;
                    Definition::parse(&String::from_utf8_lossy(&text)).ok()
                }
                None => None,
            };
            let quoted = sql::quote_name(name);
            let statement = definition.map_or_else(
                || format!("CREATE DATABASE {quoted}"),
                |definition| {
                    definition.statement(crate::plan::Verb::Create, &quoted, (None, None), &Mapping::default())
                },
            );
            context.check_interrupted()?;
            let allowed = [("allow_deprecated_database_ordinary", "1".to_owned())];
            let label = format!("the definition of database {name}");
            match self.statements.run_definition(&label, &statement, &[]) {
                Err(ServerError::Exception { code: UNKNOWN_DATABASE_ENGINE, .. }) => {
                    self.statements.run_definition(&label, &statement, &allowed)?;
                }
                result => result?,
            }
            self.made.push(format!("database {name}"));
        }
        Ok(())
    }

    /// Makes the functions and named collections that are missing: all where the whole snapshot is restored, else those
    /// that a definition mentions. The answer is what could not be made.
    pub(super) fn make_functions_and_collections(&mut self) -> Result<Vec<String>, OpError> {
        let context = self.context;
        let mut warnings = Vec::new();
        if context.request.options.what == What::Data {
            return Ok(warnings);
        }
        let functions = server::functions(context.server)?;
        let collections = server::named_collections(context.server);
        let mut pending: Vec<(String, String)> = Vec::new();
        for file in &context.source.manifest.metadata {
            let Some((directory, stem)) = file.path.split_once('/') else { continue };
            let Some(stem) = stem.strip_suffix(".sql") else { continue };
            let (what, escaped) = match directory {
                "user_defined" => ("function", stem.strip_prefix("function_").unwrap_or(stem)),
                "named_collections" => ("named collection", stem),
                _ => continue,
            };
            let is_there = match directory {
                "user_defined" => functions.iter().any(|function| escape_for_file_name(&function.name) == escaped),
                _ => collections.iter().any(|name| escape_for_file_name(name) == escaped),
            };
            if is_there || !(context.source.is_whole || self.is_mentioned(escaped)) {
                continue;
            }
            let text = String::from_utf8_lossy(&context.source.metadata(&file.path)?).into_owned();
            pending.push((format!("{what} {escaped}"), text.replacen("ATTACH ", "CREATE ", 1)));
        }
        // A function may call another one.
        loop {
            let before = pending.len();
            let mut failed = Vec::new();
            for (name, text) in std::mem::take(&mut pending) {
                match self.statements.run_definition(&name, &text, &[]) {
                    Ok(()) => self.made.push(name),
                    Err(error @ ServerError::Exception { .. }) => {
                        failed.push((name, text, crate::monitor::chain(&error)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if failed.is_empty() || failed.len() == before {
                warnings.extend(failed.into_iter().map(|(name, _, error)| format!("{name} was not made: {error}")));
                return Ok(warnings);
            }
            pending = failed.into_iter().map(|(name, text, _)| (name, text)).collect();
        }
    }

    fn is_mentioned(&self, escaped: &str) -> bool {
        let definitions = self.context.items.iter().filter_map(|item| item.definition.as_ref().ok());
        definitions.into_iter().any(|definition| definition.mentions(escaped))
    }
}
