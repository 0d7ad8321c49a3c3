//! Tokens: a file that only its owner can read, one token a line with what it allows.

use super::scopes::{Scope, Scopes};
use rustix::fs::{Mode, OFlags, open};
use skein_common::Digest;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Of a token that we make: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;
/// A shorter one, of a person's own making, could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
/// A file of tokens larger than this is none.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Group and others may do nothing with the file.
const NOT_FOR_OTHERS: u32 = 0o077;

/// Why the tokens cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("there is no {path}")]
    NotFound { path: PathBuf },
    #[error("{path} can be read by others (mode {mode:03o}): make it yours alone with `chmod 600 {path}`")]
    ForOthers { path: PathBuf, mode: u32 },
    #[error("{path} belongs to another user")]
    OfAnother { path: PathBuf },
    #[error("{path} is no file of tokens: {reason}")]
    NoTokens { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    System { path: PathBuf, source: io::Error },
}

/// The tokens that a listener takes. They are kept as digests: what is compared tells nothing of them.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Digest, Scopes)>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads the file; makes it, with one token that allows everything, when it is not there.
    ///
    /// # Errors
    /// It cannot be made or read, others can read it, or it holds what is no token.
    pub fn open_or_create(path: &Path) -> Result<Tokens, TokenError> {
        let lines = match read_lines(path) {
            Err(TokenError::NotFound { .. }) => {
                create(path).map_err(|source| TokenError::System { path: path.to_path_buf(), source })?;
                read_lines(path)?
            }
            lines => lines?,
        };
        Ok(Tokens(lines.into_iter().map(|line| (Digest::of(line.token.as_bytes()), line.scopes)).collect()))
    }

    /// What this token allows; `None` when it is none of ours. Takes the same time for every token of one length.
    #[must_use]
    pub fn scopes_of(&self, token: &[u8]) -> Option<Scopes> {
        let asked = Digest::of(token);
        let mut found = None;
        for (known, scopes) in &self.0 {
            if is_same(known, &asked) {
                found = Some(found.unwrap_or(Scopes::default()).and(*scopes));
            }
        }
        found
    }
}

/// The first token of the file, for a client.
///
/// # Errors
/// As [`Tokens::open_or_create`], or it is not there.
pub fn first_token(path: &Path) -> Result<String, TokenError> {
    let first = read_lines(path)?.into_iter().next();
    first.map(|line| line.token).ok_or_else(|| no_tokens(path, String::from("it has no line")))
}

/// Looks at every byte, whatever the first ones are.
fn is_same(known: &Digest, asked: &Digest) -> bool {
    let (known, asked) = (known.0.as_bytes(), asked.0.as_bytes());
    let differences = known.iter().zip(asked).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    known.len() == asked.len() && differences == 0
}

/// `TOKEN [scope …]`; a token without scopes may only read.
struct Line {
    token: String,
    scopes: Scopes,
}

fn read_lines(path: &Path) -> Result<Vec<Line>, TokenError> {
    let text = read_private(path)?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(token) = words.next() else { continue };
        let reason = |what: &str| no_tokens(path, format!("line {}: {what}", number + 1));
        if token.len() < TOKEN_CHARS_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(reason(&format!("a token is at least {TOKEN_CHARS_MIN} printable ASCII characters")));
        }
        let named: Option<Vec<Scope>> = words.map(Scope::from_name).collect();
        let named = named.ok_or_else(|| reason(&format!("scopes are {}", scope_names())))?;
        let scopes = if named.is_empty() { [Scope::Read].into_iter().collect() } else { named.into_iter().collect() };
        lines.push(Line { token: token.to_owned(), scopes });
    }
    if lines.is_empty() { Err(no_tokens(path, String::from("it has no token"))) } else { Ok(lines) }
}

fn scope_names() -> String {
    Scope::ALL.map(Scope::name).join(", ")
}

/// What was opened is looked at, not what has its name: that may be another file by then.
fn read_private(path: &Path) -> Result<String, TokenError> {
    let system = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => TokenError::NotFound { path: path.to_path_buf() },
        _ => TokenError::System { path: path.to_path_buf(), source },
    };
    // To open a pipe would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(open(path, flags, Mode::empty()).map_err(|error| system(error.into()))?);
    let metadata = file.metadata().map_err(system)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(no_tokens(path, String::from("it is no regular file of at most 64 KiB")));
    }
    if !is_trusted(metadata.uid(), rustix::process::geteuid().as_raw()) {
        return Err(TokenError::OfAnother { path: path.to_path_buf() });
    }
    let mode = metadata.mode() & 0o777;
    if mode & NOT_FOR_OTHERS != 0 {
        return Err(TokenError::ForOthers { path: path.to_path_buf(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(system)?;
    Ok(text)
}

/// Whether tokens of this owner's file count for a process of this user. Root may read whatever it likes.
fn is_trusted(owner: u32, own: u32) -> bool {
    owner == own || owner == 0 || own == 0
}

/// The file appears with its token in it. Of those that make it at once, one does.
fn create(path: &Path) -> io::Result<()> {
    use std::fmt::Write as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut line = String::new();
    for byte in rand::random::<[u8; TOKEN_BYTES]>() {
        let _always = write!(line, "{byte:02x}");
    }
    for scope in Scope::ALL {
        let _always = write!(line, " {scope}");
    }
    let unfinished = folder.join(format!(".token-{}-{:016x}", std::process::id(), rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = writeln!(file, "{line}").and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn no_tokens(path: &Path, reason: String) -> TokenError {
    TokenError::NoTokens { path: path.to_path_buf(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.token");
        fs::write(&path, text).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changes");
        (folder, path)
    }

    #[test]
    fn a_file_that_is_not_there_is_made_for_its_owner_with_a_token_that_allows_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/api.token");
        let tokens = Tokens::open_or_create(&path).expect("is made");
        let token = first_token(&path).expect("can be read");
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(tokens.scopes_of(token.as_bytes()), Some(Scopes::all()));
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("new")).expect("is there").permissions().mode() & 0o777, 0o700);
        let again = Tokens::open_or_create(&path).expect("is read");
        assert!(again.scopes_of(token.as_bytes()).is_some(), "it is kept");
        assert_eq!(fs::read_dir(folder.path().join("new")).expect("lists").count(), 1, "nothing else is left");
        assert!(create(&path).is_ok() && first_token(&path).expect("reads") == token, "who comes second uses it");
    }

    #[test]
    fn a_file_counts_for_its_owner_and_for_root_and_one_of_roots_for_everybody() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(1000, 0));
        assert!(!is_trusted(1001, 1000));
    }

    #[test]
    fn a_line_names_its_scopes_and_without_any_it_may_only_read() {
        let text = "# mine\n\naaaaaaaaaaaaaaaa steer read   # laptop\nbbbbbbbbbbbbbbbb\ncccccccccccccccc command\n";
        let (_folder, path) = file(text, 0o600);
        let tokens = Tokens::open_or_create(&path).expect("reads");
        let scopes = |token: &str| tokens.scopes_of(token.as_bytes());
        assert_eq!(scopes("aaaaaaaaaaaaaaaa"), Some([Scope::Read, Scope::Run].into_iter().collect()));
        assert_eq!(scopes("bbbbbbbbbbbbbbbb"), Some([Scope::Read].into_iter().collect()));
        assert_eq!(scopes("cccccccccccccccc"), Some([Scope::Command].into_iter().collect()));
        for other in ["", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "mine", "#"] {
            assert_eq!(scopes(other), None, "{other}");
        }
        assert_eq!(first_token(&path).expect("reads"), "aaaaaaaaaaaaaaaa");
        assert!(!format!("{tokens:?}").contains("aaaa"));
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_no_tokens_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o777] {
            let (_folder, path) = file("aaaaaaaaaaaaaaaa\n", mode);
            assert!(matches!(Tokens::open_or_create(&path), Err(TokenError::ForOthers { .. })), "{mode:o}");
            assert!(matches!(first_token(&path), Err(TokenError::ForOthers { .. })), "{mode:o}");
        }
        for text in ["", "# nothing\n", "short\n", "aaaaaaaaaaaaaaaa root\n", "ääääääääääääääää\n"] {
            let (_folder, path) = file(text, 0o600);
            let error = Tokens::open_or_create(&path).expect_err(text);
            assert!(matches!(error, TokenError::NoTokens { .. }), "{text}: {error}");
            assert!(!error.to_string().contains("short"), "a token is shown to nobody: {error}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(first_token(&folder.path().join("none")), Err(TokenError::NotFound { .. })));
        assert!(matches!(Tokens::open_or_create(folder.path()), Err(TokenError::NoTokens { .. })));
    }
}
