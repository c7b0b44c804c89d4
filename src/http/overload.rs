//! The answer to a connection beyond the cap: short, without reading the request, and then closed.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long the client gets to read it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of the client's request is taken in meanwhile.
const TAKEN_IN: u64 = 64 * 1024;

fn answer() -> String {
    let request_id = uuid::Uuid::now_v7();
    let body = serde_json::json!({
        "type": "urn:plangate:problem:overloaded",
        "title": "Overloaded",
        "status": 503,
        "detail": "the gateway has as many connections as it may have",
        "code": "overloaded",
        "request_id": request_id.to_string(),
        "retry_after": 1,
    })
    .to_string();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         cache-control: no-store\r\nx-request-id: {request_id}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Answers and closes.
pub(super) async fn refuse(mut stream: TcpStream) {
    let _ = tokio::time::timeout(PATIENCE, async {
        stream.write_all(answer().as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(TAKEN_IN), &mut tokio::io::sink()).await
    })
    .await;
}
