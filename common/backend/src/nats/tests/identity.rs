//! Who a process says it is: a name and a password, a key, a file of credentials, a certificate.

use crate::conformance::Checked;
use crate::nats::NatsError;
use crate::nats::connection::Connection;
use crate::nats::server::{TestServer, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use skein_common::config::NatsSettings;
use skein_common::ports::BoxError;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn settings(url: String) -> NatsSettings {
    NatsSettings { url, ..NatsSettings::default() }
}

fn file(dir: &Path, name: &str, text: &str) -> Result<Option<PathBuf>, BoxError> {
    let path = dir.join(name);
    std::fs::write(&path, text)?;
    Ok(Some(path))
}

async fn is_let_in(settings: &NatsSettings) -> Checked {
    let connection = Connection::open(settings).await?;
    connection.client().flush().await?;
    Ok(())
}

async fn is_forbidden(settings: &NatsSettings) -> Result<String, BoxError> {
    match Connection::open(settings).await {
        Err(error @ NatsError::Forbidden { .. }) => Ok(error.to_string()),
        other => Err(format!("{other:?}").into()),
    }
}

#[tokio::test]
async fn a_name_and_a_password_in_a_file_let_a_process_in() -> Checked {
    let lines = "authorization { users: [ { user: alice, password: \"pass word\" } ] }";
    for version in [Version::New, Version::Old] {
        let server = TestServer::start_with(version, lines).await?;
        let user = Some("alice".to_owned());
        let with = |name: &str, text: &str| -> Result<NatsSettings, BoxError> {
            let password_file = file(server.dir(), name, text)?;
            Ok(NatsSettings { user: user.clone(), password_file, ..settings(server.url()) })
        };
        is_let_in(&with("right", "pass word\n")?).await?;
        let refusal = is_forbidden(&with("wrong", "secret-guess\n")?).await?;
        assert!(refusal.contains("nats.creds_file") && !refusal.contains("secret-guess"), "{refusal}");
        is_forbidden(&settings(server.url())).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_seed_of_a_key_lets_a_process_in() -> Checked {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let lines = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key());
    let server = TestServer::start_with(Version::New, &lines).await?;
    let with = |name: &str, key: &KeyPair| -> Result<NatsSettings, BoxError> {
        let nkey_file = file(server.dir(), name, &format!("# of a test\n{}\n", key.seed()?))?;
        Ok(NatsSettings { nkey_file, ..settings(server.url()) })
    };
    is_let_in(&with("user", &user)?).await?;
    is_forbidden(&with("stranger", &stranger)?).await?;
    let no_seed = NatsSettings { nkey_file: file(server.dir(), "none", "UABC\n")?, ..settings(server.url()) };
    let refusal = Connection::open(&no_seed).await.expect_err("no seed").to_string();
    assert!(refusal.contains("SU"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn a_file_of_credentials_lets_a_process_in() -> Checked {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let server = {
        let operators = token(&operator, &operator, json!({ "type": "operator", "version": 2 }))?;
        let accounts = token(&operator, &account, json!({ "type": "account", "version": 2, "limits": limits() }))?;
        let lines = format!(
            "jetstream: disabled\noperator: {operators}\nresolver: MEMORY\nresolver_preload: {{ {}: {accounts} }}",
            account.public_key()
        );
        TestServer::start_with(Version::New, &lines).await?
    };
    let with = |name: &str, issuer: &KeyPair| -> Result<NatsSettings, BoxError> {
        let users =
            token(issuer, &user, json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }))?;
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{users}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()?
        );
        Ok(NatsSettings { creds_file: file(server.dir(), name, &text)?, ..settings(server.url()) })
    };
    is_let_in(&with("user.creds", &account)?).await?;
    is_forbidden(&with("stranger.creds", &stranger)?).await?;
    Ok(())
}

fn limits() -> Value {
    json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1 })
}

/// What an issuer says of a key: a signed token as servers take it.
fn token(issuer: &KeyPair, of: &KeyPair, what: Value) -> Result<String, BoxError> {
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({ "jti": of.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": of.public_key(), "nats": what });
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = issuer.sign(text.as_bytes())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[tokio::test]
async fn certificates_of_both_sides_are_checked() -> Checked {
    let dir = TempDir::with_prefix("skein-nats-tls-")?;
    make_certificates(dir.path())?;
    let path = |name: &str| Some(dir.path().join(name));
    let lines = format!(
        "tls {{ cert_file: \"{0}/server.pem\", key_file: \"{0}/server.key\", ca_file: \"{0}/ca.pem\", verify: true }}",
        dir.path().display()
    );
    let server = TestServer::start_with(Version::New, &lines).await?;
    let ours = NatsSettings {
        tls_ca: path("ca.pem"),
        tls_cert: path("client.pem"),
        tls_key: path("client.key"),
        ..settings(server.url())
    };
    is_let_in(&ours).await?;
    for (refused, why) in [
        (NatsSettings { tls_ca: path("other.pem"), ..ours.clone() }, "the server is a stranger"),
        (NatsSettings { tls_cert: None, tls_key: None, ..ours.clone() }, "we are strangers"),
        (NatsSettings { tls_key: None, ..ours.clone() }, "half of a certificate"),
    ] {
        assert!(is_let_in(&refused).await.is_err(), "{why}");
    }
    Ok(())
}

/// Two authorities, and of the first one a server's and a client's certificate.
fn make_certificates(dir: &Path) -> Checked {
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |arguments: &[&str]| -> Checked {
        let done = Command::new("openssl").current_dir(dir).args(arguments).output()?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into()) }
    };
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\n")?;
    for name in ["ca", "other"] {
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        openssl(
            &[&["req", "-x509", "-keyout", &key, "-out", &pem, "-days", "2", "-subj", &subject], &KEY[..]].concat(),
        )?;
    }
    for name in ["server", "client"] {
        let [key, request, pem] = ["key", "csr", "pem"].map(|kind| format!("{name}.{kind}"));
        let subject = format!("/CN={name}");
        openssl(&[&["req", "-keyout", &key, "-out", &request, "-subj", &subject], &KEY[..]].concat())?;
        let sign =
            ["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", &pem];
        openssl(&[&sign[..], &["-days", "2", "-extfile", "names"]].concat())?;
    }
    Ok(())
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_named() -> Checked {
    let dir = tempfile::tempdir()?;
    let base = || settings(String::from("nats://127.0.0.1:1"));
    for (bad, name) in [
        (NatsSettings { user: Some("alice".into()), ..base() }, "nats.user"),
        (NatsSettings { password_file: file(dir.path(), "p", "x")?, ..base() }, "nats.password_file"),
        (NatsSettings { tls_cert: file(dir.path(), "c", "x")?, ..base() }, "nats.tls_cert"),
        (NatsSettings { nkey_file: Some(dir.path().join("none")), ..base() }, "none"),
        (NatsSettings { url: "://".into(), ..base() }, "nats.url"),
    ] {
        let refusal = Connection::open(&bad).await.expect_err(name);
        assert!(!refusal.may_pass() && refusal.to_string().contains(name), "{refusal}");
    }
    Ok(())
}
