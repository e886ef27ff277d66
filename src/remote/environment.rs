//! The environment variables that a store is opened with.

use std::collections::BTreeMap;
use std::fmt;

/// Names of the variables. OpenDAL itself looks up other variables of its services.
const VARIABLES: [&str; 7] = [
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "CHSNAP_FTP_PASSWORD",
];

/// The variables that have a value. Prints as their names, because some values are secrets.
#[derive(Clone, Default)]
pub struct StoreEnvironment {
    values: BTreeMap<&'static str, String>,
}

impl StoreEnvironment {
    /// Reads the variables through `variable`. An empty one counts as missing.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let values = VARIABLES.iter().filter_map(|name| Some((*name, variable(name)?)));
        Self { values: values.filter(|(_, value)| !value.is_empty()).collect() }
    }

    #[cfg(feature = "remote")]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

impl fmt::Debug for StoreEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_missing_and_no_value_is_printed() {
        let environment = StoreEnvironment::read(|name| match name {
            "CHSNAP_FTP_PASSWORD" => Some("hunter2".to_owned()),
            "AWS_REGION" => Some(String::new()),
            _ => None,
        });
        assert_eq!(format!("{environment:?}"), r#"{"CHSNAP_FTP_PASSWORD"}"#);
    }
}
