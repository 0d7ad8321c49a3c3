//! How a process gets a connection, keeps it, and is told why it has none.

use crate::nats::NatsError;
use crate::nats::connection::{Connection, RequestError};
use crate::nats::server::{TestServer, Version};
use async_nats::HeaderMap;
use bytes::Bytes;
use skein_common::config::NatsSettings;
use skein_common::ports::BoxError;

fn settings(url: String) -> NatsSettings {
    NatsSettings { url, ..NatsSettings::default() }
}

#[tokio::test]
async fn a_connection_survives_a_kill_of_the_server_and_tells_of_it() -> Result<(), BoxError> {
    for version in [Version::New, Version::Old] {
        let mut server = TestServer::start_with(version, "").await?;
        let connection = Connection::open(&settings(server.url())).await?;
        let mut connects = connection.connects();
        connects.wait_for(|count| *count == 1).await?;
        server.kill();
        let asking = connection.request("anybody", HeaderMap::new(), Bytes::new());
        let (answer, restarted) = tokio::join!(asking, server.restart());
        restarted?;
        connects.wait_for(|count| *count == 2).await?;
        assert!(
            matches!(answer, Err(RequestError::Reconnected { .. } | RequestError::NoResponders { .. })),
            "{answer:?}"
        );
        let again = connection.request("anybody", HeaderMap::new(), Bytes::new()).await;
        assert!(matches!(again, Err(RequestError::NoResponders { .. })), "{again:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_later() -> Result<(), BoxError> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let refusal = Connection::open(&settings(format!("nats://127.0.0.1:{free}"))).await.expect_err("nobody is there");
    assert!(matches!(refusal, NatsError::Unreachable { .. }) && refusal.may_pass(), "{refusal}");
    assert!(refusal.to_string().contains("nats.url"), "{refusal}");
    Ok(())
}
