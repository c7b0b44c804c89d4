//! Where each key of the configuration was read, for errors that are found out after the reading.

use std::path::PathBuf;

/// Where each key was read: for whoever finds out later that its value does not fit.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// Keys and the environment variables that set them.
    pub variables: Vec<(String, String)>,
}

impl Places {
    /// The file or the variable that a key's value comes from.
    #[must_use]
    pub fn of(&self, key: &str) -> String {
        let covers = |known: &str| {
            key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let variable = self.variables.iter().rev().find(|(known, _)| covers(known));
        match (variable, &self.file) {
            (Some((_, name)), _) => name.clone(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "configuration".to_owned(),
        }
    }
}
