//! `plangate token create --offline`: the first token of an installation that has none configured.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    app::{
        environment,
        offline_token::{Wanted, make},
    },
    cli::Failure,
    domain::role::{RESERVED, Role, is_name},
};

/// Makes a token straight in the database.
pub(super) async fn create(
    config: Option<&Path>,
    name: &str,
    role: &str,
    expires_at: Option<&str>,
) -> Result<Value, Failure> {
    if !is_name(name) || RESERVED.contains(&name) {
        let shape = "a lower-case letter or digit, then up to 62 of a-z, 0-9, `.`, `_`, `-`";
        let reserved = RESERVED.join("` or `");
        return Err(Failure::Usage(format!("`{name}` is no name: expected {shape}; not `{reserved}`")));
    }
    let expires_at = expires_at
        .map(|text| text.parse::<jiff::Timestamp>().map(Into::into))
        .transpose()
        .map_err(|error| Failure::Usage(format!("--expires-at: expected RFC 3339: {error}")))?;
    let role = Role::parse(role).ok_or_else(|| Failure::Usage(format!("`{role}` is no role")))?;
    // A variable that is not Unicode cannot be one of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = environment::load(config, variables).map_err(|error| Failure::Usage(error.to_string()))?;
    let wanted = Wanted { name: name.to_owned(), role, expires_at };
    let made = make(&config.database, wanted).await.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(json!({
        "id": made.id, "token": made.secret, "name": name, "role": role.as_str(),
        "expires_at": expires_at.map(|at| at.to_string()),
    }))
}
