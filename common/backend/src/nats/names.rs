//! Names of everything that a cluster has on a NATS server: streams, subjects, consumers, buckets.

use super::error::NatsError;
use sha2::{Digest as _, Sha256};
use skein_common::ports::Shard;
use skein_common::{Digest, RunId};
use std::fmt::Write as _;
use std::str::FromStr as _;

const PREFIX_BYTES_MAX: usize = 32;
/// A subject has to fit into one line of the protocol, which servers cut at 4096 bytes, and a name of a consumer into
/// 255. Longer text is named by its digest.
const TOKEN_BYTES_MAX: usize = 200;
/// Begins the token of a text that is too long. No encoded text begins so, as hexadecimal digits follow each `=`.
const LONG_TOKEN: &str = "==";

/// The names of one cluster. Each begins with its prefix, so that clusters can share a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// The names of the cluster with this prefix: letters, digits, `_` and `-`, the first a letter or digit.
    ///
    /// # Errors
    /// When the prefix is none of these.
    pub fn new(prefix: &str) -> Result<Names, NatsError> {
        let fits = (1..=PREFIX_BYTES_MAX).contains(&prefix.len())
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            && prefix.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !fits {
            let reason = format!(
                "expected 1 to {PREFIX_BYTES_MAX} letters, digits, `_` and `-`, the first of them a letter or a digit"
            );
            return Err(NatsError::BadSetting { name: "nats.prefix", reason });
        }
        Ok(Names { prefix: prefix.to_owned() })
    }

    fn join(&self, rest: std::fmt::Arguments<'_>) -> String {
        format!("{}{rest}", self.prefix)
    }

    // Journal.

    #[must_use]
    pub fn journal_stream(&self) -> String {
        self.join(format_args!("_JRN"))
    }

    /// All subjects of the journal.
    #[must_use]
    pub fn journal_subjects(&self) -> String {
        self.join(format_args!(".j.*.*"))
    }

    #[must_use]
    pub fn journal_subject(&self, shard: Shard, run: &RunId) -> String {
        self.join(format_args!(".j.{shard}.{run}"))
    }

    // Tasks.

    #[must_use]
    pub fn tasks_stream(&self) -> String {
        self.join(format_args!("_TASK"))
    }

    /// All subjects of the task queue.
    #[must_use]
    pub fn tasks_subjects(&self) -> String {
        self.join(format_args!(".t.*"))
    }

    #[must_use]
    pub fn tasks_subject(&self, pool: &str) -> String {
        self.join(format_args!(".t.{}", token(pool)))
    }

    /// The durable consumer of a pool's tasks.
    #[must_use]
    pub fn pool_consumer(&self, pool: &str) -> String {
        format!("pool-{}", token(pool))
    }

    /// Where the workers of a host listen.
    #[must_use]
    pub fn host(&self, host: &str) -> String {
        self.join(format_args!(".w.{}", token(host)))
    }

    // Results.

    #[must_use]
    pub fn results_stream(&self) -> String {
        self.join(format_args!("_RES"))
    }

    /// All subjects of the results.
    #[must_use]
    pub fn results_subjects(&self) -> String {
        self.join(format_args!(".r.*.*"))
    }

    #[must_use]
    pub fn result_subject(&self, shard: Shard, run: &RunId) -> String {
        self.join(format_args!(".r.{shard}.{run}"))
    }

    /// The results of a shard.
    #[must_use]
    pub fn shard_results(&self, shard: Shard) -> String {
        self.join(format_args!(".r.{shard}.*"))
    }

    /// The durable consumer of a shard's results.
    #[must_use]
    pub fn shard_consumer(&self, shard: Shard) -> String {
        format!("shard-{shard}")
    }

    // Blobs.

    #[must_use]
    pub fn blobs_stream(&self) -> String {
        self.join(format_args!("_BLB"))
    }

    /// All subjects of blobs and of parts of blobs.
    #[must_use]
    pub fn blobs_subjects(&self) -> String {
        self.join(format_args!(".b.>"))
    }

    #[must_use]
    pub fn blob_subject(&self, run: &RunId, digest: &Digest) -> String {
        self.join(format_args!(".b.{run}.{}", token(&digest.0)))
    }

    /// A part of a large blob.
    #[must_use]
    pub fn blob_part(&self, run: &RunId, digest: &Digest, number: usize) -> String {
        self.join(format_args!(".b.{run}.{}.{number}", token(&digest.0)))
    }

    /// The blobs of a run.
    #[must_use]
    pub fn run_blobs(&self, run: &RunId) -> String {
        self.join(format_args!(".b.{run}.>"))
    }

    // Leases and directory: buckets of keys and values.

    #[must_use]
    pub fn leases_stream(&self) -> String {
        format!("KV_{}_leases", self.prefix)
    }

    /// All subjects of the leases.
    #[must_use]
    pub fn leases_subjects(&self) -> String {
        format!("$KV.{}_leases.>", self.prefix)
    }

    #[must_use]
    pub fn lease_subject(&self, name: &str) -> String {
        format!("$KV.{}_leases.{}", self.prefix, token(name))
    }

    #[must_use]
    pub fn directory_stream(&self) -> String {
        format!("KV_{}_directory", self.prefix)
    }

    /// All subjects of the directory.
    #[must_use]
    pub fn directory_subjects(&self) -> String {
        format!("$KV.{}_directory.>", self.prefix)
    }

    #[must_use]
    pub fn directory_subject(&self, table: &str, key: &str) -> String {
        format!("$KV.{}_directory.{}.{}", self.prefix, token(table), token(key))
    }

    /// The keys of a table.
    #[must_use]
    pub fn directory_table(&self, table: &str) -> String {
        format!("$KV.{}_directory.{}.*", self.prefix, token(table))
    }

    // What is not stored.

    /// Questions of workers about the runs of a shard.
    #[must_use]
    pub fn claims(&self, shard: Shard) -> String {
        self.join(format_args!(".c.{shard}"))
    }

    /// Ends of attempts of a shard's runs, for its owner.
    #[must_use]
    pub fn ends(&self, shard: Shard) -> String {
        self.join(format_args!(".e.{shard}"))
    }

    /// Questions of other owners about the runs of a shard; workers may not ask here.
    #[must_use]
    pub fn steering(&self, shard: Shard) -> String {
        self.join(format_args!(".s.{shard}"))
    }

    /// Questions of workers to all owners.
    #[must_use]
    pub fn heartbeats(&self) -> String {
        self.join(format_args!(".hb"))
    }

    /// Questions of owners to all owners; workers may not ask here.
    #[must_use]
    pub fn steering_of_all(&self) -> String {
        self.join(format_args!(".sa"))
    }

    /// Broadcasts to all workers.
    #[must_use]
    pub fn broadcasts(&self) -> String {
        self.join(format_args!(".o"))
    }

    /// Broadcasts to all owners; workers may not speak here.
    #[must_use]
    pub fn steering_broadcasts(&self) -> String {
        self.join(format_args!(".so"))
    }

    /// Begins the subjects to which the answers for processes of this role come.
    #[must_use]
    pub fn inbox(&self, role: &str) -> String {
        self.join(format_args!(".i.{}", token(role)))
    }

    /// What watchers of a topic see.
    #[must_use]
    pub fn feed(&self, topic: &str) -> String {
        self.join(format_args!(".f.{}", token(topic)))
    }
}

/// The text as one part of a subject: letters, digits, `-` and `_` stay, each other byte is `=` and two hexadecimal
/// digits, nothing is `=`. Text that is too long for a subject becomes `==` and its digest.
#[must_use]
pub fn token(text: &str) -> String {
    if text.is_empty() {
        return String::from("=");
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "={byte:02X}");
        }
        if encoded.len() > TOKEN_BYTES_MAX {
            return long_token(text);
        }
    }
    encoded
}

fn long_token(text: &str) -> String {
    let mut encoded = String::from(LONG_TOKEN);
    for byte in &Sha256::digest(text.as_bytes())[..16] {
        let _ = write!(encoded, "{byte:02X}");
    }
    encoded
}

/// The text that a token stands for; `None` for what was too long and for what is no token.
#[must_use]
pub fn untoken(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(first) = rest.next() {
        match first {
            b'=' => bytes.push(hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?),
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether a text is short enough to be read back from its token.
#[must_use]
pub fn has_readable_token(text: &str) -> bool {
    !token(text).starts_with(LONG_TOKEN)
}

/// The text that the last part of a subject stands for.
#[must_use]
pub fn last_part(subject: &str) -> Option<String> {
    untoken(subject.rsplit('.').next()?)
}

/// The run that the last part of a subject names.
#[must_use]
pub fn run_of(subject: &str) -> Option<RunId> {
    RunId::from_str(subject.rsplit('.').next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_one_part_of_a_subject_and_is_read_back() {
        for text in ["", "default", "db-1_x", "a.b", "*", ">", "a b", "=", "==", "=41", "über", "\0\r\n", "$JS.API"] {
            let token = token(text);
            assert!(!token.is_empty(), "{text:?}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
            assert!(token.bytes().all(plain), "{text:?} became {token:?}");
            assert_eq!(untoken(&token).as_deref(), Some(text));
        }
    }

    #[test]
    fn long_texts_have_short_names_that_differ() {
        let long = "x".repeat(1_000_000);
        let other = format!("{}y", "x".repeat(1_000_000));
        assert!(token(&long).len() <= TOKEN_BYTES_MAX);
        assert_ne!(token(&long), token(&other));
        assert!(!has_readable_token(&long) && untoken(&token(&long)).is_none());
        assert!(has_readable_token(&"x".repeat(TOKEN_BYTES_MAX)));
    }

    #[test]
    fn what_is_no_token_is_no_text() {
        for token in ["", "=4", "=zz", "a=", "=FF", "=+1", "==0011"] {
            assert_eq!(untoken(token), None, "{token}");
        }
    }

    #[test]
    fn a_prefix_is_letters_digits_and_two_signs() {
        for prefix in ["skein", "a", "A-1_b", &"x".repeat(32)] {
            assert!(Names::new(prefix).is_ok(), "{prefix}");
        }
        for prefix in ["", "a.b", "*", ">", "$JS", "_INBOX", "-a", "a b", "ü", &"x".repeat(33)] {
            let refusal = Names::new(prefix).expect_err(prefix).to_string();
            assert!(refusal.contains("nats.prefix"), "{refusal}");
        }
    }

    #[test]
    fn the_names_never_change() {
        let names = Names::new("p").expect("names");
        let run: RunId = "wf_01kb3v9m5c7w8t3xq2r4y6z8a0".parse().expect("an id");
        let digest = Digest(String::from("ab12"));
        assert_eq!(names.journal_subject(4, &run), "p.j.4.wf_01kb3v9m5c7w8t3xq2r4y6z8a0");
        assert_eq!(names.result_subject(4, &run), "p.r.4.wf_01kb3v9m5c7w8t3xq2r4y6z8a0");
        assert_eq!(names.shard_results(4), "p.r.4.*");
        assert_eq!(names.blob_subject(&run, &digest), "p.b.wf_01kb3v9m5c7w8t3xq2r4y6z8a0.ab12");
        assert_eq!(names.tasks_subject("eu.west"), "p.t.eu=2Ewest");
        assert_eq!(names.pool_consumer("eu.west"), "pool-eu=2Ewest");
        assert_eq!(names.host("nginx-01"), "p.w.nginx-01");
        assert_eq!(names.lease_subject("shard-03"), "$KV.p_leases.shard-03");
        assert_eq!(names.directory_subject("runs", "a/b"), "$KV.p_directory.runs.a=2Fb");
        assert_eq!(names.directory_table("runs"), "$KV.p_directory.runs.*");
        assert_eq!((names.claims(3), names.steering(3)), (String::from("p.c.3"), String::from("p.s.3")));
        assert_eq!(names.ends(3), "p.e.3");
        assert_eq!(names.blob_part(&run, &digest, 3), "p.b.wf_01kb3v9m5c7w8t3xq2r4y6z8a0.ab12.3");
        assert_eq!(run_of("p.j.4.wf_01kb3v9m5c7w8t3xq2r4y6z8a0"), Some(run));
        assert_eq!(last_part("$KV.p_directory.runs.a=2Fb").as_deref(), Some("a/b"));
    }
}
