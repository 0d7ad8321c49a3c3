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
    let is_named = is_file_for(settings, url);
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

/// Whether a person named a file of tokens for asking there. What a file of settings names is also what this machine
/// listens with: nobody else gets to see that.
fn is_file_for(settings: &Settings, url: &ApiUrl) -> bool {
    let is_meant = url.is_of_this_machine() || settings.is_set_here("api.token_file");
    settings.api.token_file.is_some() && is_meant
}

/// Where the token is looked for, for a person whose token is missing or wrong.
#[must_use]
pub fn places(settings: &Settings, url: &ApiUrl) -> String {
    if settings.api.token.is_some() {
        return String::from("the token was that of SKEIN_TOKEN or api.token of the settings");
    }
    let file = token_file(settings).map(|path| path.display().to_string()).unwrap_or_default();
    if is_file_for(settings, url) {
        return format!("the token was the first of {file} (api.token_file)");
    }
    if url.is_of_this_machine() {
        return format!("a token is looked for in SKEIN_TOKEN, in the file that api.token_file names, and in {file}");
    }
    String::from("a token for another machine is looked for in SKEIN_TOKEN and in the file that SKEIN_TOKEN_FILE names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_the_tokens_that_a_file_of_settings_names_are_for_this_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("api.token");
        std::fs::write(&file, "aaaaaaaaaaaaaaaa\n").expect("writes");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("changes");
        let url = |text: &str| text.parse::<ApiUrl>().expect("a URL");
        let token = |settings: &Settings, text: &str| {
            let found = token_for(settings, &url(text)).expect("can be read");
            found.map(|token| token.expose().to_owned())
        };
        let (here, there) = ("http://127.0.0.1:7717", "http://192.0.2.9:7717");
        let mut settings = Settings::default();
        // As a file of settings does, without the note who said it.
        settings.api.token_file = Some(file.clone());
        assert_eq!(token(&settings, here).as_deref(), Some("aaaaaaaaaaaaaaaa"));
        assert_eq!(token(&settings, there), None);
        assert!(places(&settings, &url(there)).contains("SKEIN_TOKEN_FILE"));
        settings.set_by_flag("api.token_file", "--token-file", &file.to_string_lossy()).expect("is set");
        assert_eq!(token(&settings, there).as_deref(), Some("aaaaaaaaaaaaaaaa"), "named for this command");
    }
}
