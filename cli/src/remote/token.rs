//! Where the token for an API comes from.

use super::ApiUrl;
use crate::exit::usage;
use crate::settings::{Secret, Settings};
use skein_coordinator::api::{TokenError, first_token};
use std::path::PathBuf;

/// The file of tokens that a process on this machine listens with: as set, else in the node's folder.
///
/// # Errors
/// There is no home directory to find it in.
pub fn token_file(settings: &Settings) -> anyhow::Result<PathBuf> {
    match &settings.api.token_file {
        Some(path) => Ok(path.clone()),
        None => Ok(settings.node_dir()?.join("api.token")),
    }
}

/// The token to ask this API with, if there is one.
///
/// # Errors
/// A file of tokens that is there, or that a person named, cannot be used.
pub fn token_for(settings: &Settings, url: &ApiUrl) -> anyhow::Result<Option<Secret>> {
    if let Some(token) = &settings.api.token {
        return Ok(Some(token.clone()));
    }
    let is_named = settings.api.token_file.is_some();
    // The token of this machine is for nobody else.
    if !is_named && !url.is_of_this_machine() {
        return Ok(None);
    }
    match first_token(&token_file(settings)?) {
        Ok(token) => Ok(Some(Secret::new(token))),
        Err(TokenError::NotFound { .. }) if !is_named => Ok(None),
        Err(error) => Err(usage(error.to_string())),
    }
}

/// Where the token is looked for, for a person whose token is missing or wrong.
#[must_use]
pub fn places(settings: &Settings, url: &ApiUrl) -> String {
    if settings.api.token.is_some() {
        return String::from("the token was that of SKEIN_TOKEN or api.token of the settings");
    }
    let file = token_file(settings).map(|path| path.display().to_string()).unwrap_or_default();
    if settings.api.token_file.is_some() {
        return format!("the token was the first of {file} (api.token_file)");
    }
    if url.is_of_this_machine() {
        return format!("a token is looked for in SKEIN_TOKEN, in the file that api.token_file names, and in {file}");
    }
    String::from("a token is looked for in SKEIN_TOKEN and in the file that api.token_file names")
}
