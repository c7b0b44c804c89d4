//! Where the configuration's values come from, so that a bad one is told with its place.

use std::path::PathBuf;

use super::environment::DEFAULT_FILE;

/// The file and the variables that made a configuration.
#[derive(Debug, Clone)]
pub struct Sources {
    file: PathBuf,
    /// Keys with the variables that set them.
    variables: Vec<(String, String)>,
}

impl Default for Sources {
    fn default() -> Self {
        Self::new(PathBuf::from(DEFAULT_FILE))
    }
}

impl Sources {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, variables: Vec::new() }
    }

    pub(super) fn add(&mut self, key: &str, variable: &str) {
        self.variables.push((key.to_owned(), variable.to_owned()));
    }

    /// The variable that set a key, or else the file.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        let covers = |known: &str| {
            key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        // The variable of the key itself was laid over that of the map around it.
        let nearest =
            self.variables.iter().filter(|(known, _)| covers(known)).max_by_key(|(known, _)| known.len());
        nearest.map_or_else(|| self.file.display().to_string(), |(_, variable)| variable.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variable_is_named() {
        let mut sources = Sources::new("here.yaml".into());
        sources.add("admin", "PLANGATE_ADMIN");
        sources.add("admin.token", "PLANGATE_ADMIN_TOKEN");
        sources.add("identity.jwt", "PLANGATE_IDENTITY_JWT");
        assert_eq!(sources.place("admin.token"), "PLANGATE_ADMIN_TOKEN");
        assert_eq!(sources.place("admin.listen"), "PLANGATE_ADMIN");
        assert_eq!(sources.place("administrator"), "here.yaml");
        assert_eq!(sources.place("identity.jwt[0].leeway"), "PLANGATE_IDENTITY_JWT");
        assert_eq!(sources.place("identity"), "here.yaml");
    }
}
