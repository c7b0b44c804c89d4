//! WebSockets pass, other upgrades are not passed on.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::*;

async fn echoing() -> Upstream {
    Upstream::scripted(|_, c| async move {
        let mut socket = tokio_tungstenite::accept_async(c.stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await
}

#[test]
fn websockets_echo_and_count_as_a_connection() {
    run(async {
        let upstream = echoing().await;
        let gateway = Gateway::before(upstream.address);
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let url = format!("ws://{}/chat", gateway.address);
        let (mut socket, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        assert_eq!(response.status(), 101);
        for text in ["one", "two"] {
            socket.send(Message::text(text)).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
        }
        assert_eq!(gateway.settings.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
        socket.close(None).await.unwrap();
        while socket.next().await.is_some_and(|m| m.is_ok()) {}
        drop(socket);
        while gateway.settings.connections.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_quiet_websocket_is_closed() {
    run(async {
        let upstream = echoing().await;
        let gateway =
            Gateway::with(upstream.address, |s| s.timeouts.stream_idle = Duration::from_millis(150));
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let url = format!("ws://{}/chat", gateway.address);
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, socket.next()).await.expect("closed");
        assert!(!matches!(ended, Some(Ok(Message::Text(_)))));
    });
}

#[test]
fn a_declined_handshake_is_an_answer_like_any_other() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        let handshake = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.send(handshake).await;
        client.until("GET /ws HTTP/1.1").await;
        assert!(upstream.seen()[0].contains("upgrade: websocket\r\n"));
        client.send("GET /next HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
        client.until("GET /next HTTP/1.1").await;
        assert!(!upstream.seen()[1].to_ascii_lowercase().contains("upgrade"), "{}", upstream.seen()[1]);
    });
}

#[test]
fn a_protocol_that_nobody_asked_for_is_no_answer() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            c.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                .await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let text = gateway.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert_eq!(statuses(&text), ["502"]);
        assert!(text.contains("seen: true"));
    });
}
