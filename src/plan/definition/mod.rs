//! Definitions of tables, views, dictionaries, databases and other objects: parsed, compared and rewritten as text.

mod alike;
mod calls;
mod clauses;
mod cleanse;
mod error;
mod head;
mod inner;
mod literal;
mod mapping;
mod masked;
mod names;
mod needs;
mod object;
mod parsed;
mod reach;
mod reader;
mod reads;
mod references;
mod renamed;
mod replicated;
mod secret_rules;
mod secrets;
mod statements;
mod storage;
#[cfg(test)]
mod tests;
mod tokens;
mod ttl;

pub use cleanse::cleanse;
pub use error::DefinitionError;
pub use head::DefinitionKind;
pub(super) use literal::quote;
pub use mapping::Mapping;
pub use masked::has_secret_values;
pub use object::{ObjectKind, ObjectStatement};
pub use parsed::{ParsedDefinition, Verb};
pub use reach::DefinitionScope;
pub use references::{AccessReference, Existing, ReferenceTo};
pub use replicated::ReplicaArguments;
pub use storage::StorageChoice;
