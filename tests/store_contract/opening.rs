//! Opening, starting together, and a database that goes away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use plangate::{
    ports::{Effect, ExecuteError, GrantOutcome, StoreError},
    store::{self, ConnectError, Options, Store},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{open, support::postgres::Postgres};

async fn four_at_once(url: &str) {
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url.to_owned();
        starting.spawn(async move {
            let store = open(&url).await;
            let secret = store.key_secret().await.unwrap();
            (store, secret)
        });
    }
    let all: Vec<(Arc<dyn Store>, [u8; 32])> = starting.join_all().await;
    for (store, secret) in &all {
        assert_eq!((store.installation(), secret), (all[0].0.installation(), &all[0].1));
        done(&**store, &put("acme")).await;
    }
    assert_ne!(all[0].1, [0; 32]);
    for (store, _) in all {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_start_together_on_a_postgres_without_the_database() {
    four_at_once(&Postgres::shared().url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_start_together_on_one_sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    four_at_once(&format!("sqlite://{}", folder.path().join("new/plangate.db").display())).await;
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}", folder.path().join("plangate.db").display());
    for url in [sqlite, Postgres::shared().url()] {
        let first = open(&url).await;
        let version = done(&*first, &put("acme")).await.version;
        let bucket = bucket("acme", 1);
        first.grant(&[ask(totals(&bucket, 1, 0, 0), version, 0, 60)]).await.unwrap();
        let (secret, installation) = (first.key_secret().await.unwrap(), first.installation());
        first.close().await;

        let second = open(&url).await;
        assert_eq!((second.key_secret().await.unwrap(), second.installation()), (secret, installation));
        assert_eq!(second.tenant(&tenant("acme")).await.unwrap().version, version);
        let left = second.grant(&[ask(totals(&bucket, 2, 0, 0), version, 0, 41)]).await.unwrap();
        assert_eq!(left, [GrantOutcome::Exhausted { left: 40, used: 0, held: 0 }]);
        second.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_created_is_said() {
    let server = Postgres::shared();
    let pool = sqlx::PgPool::connect(&server.url_of("postgres")).await.unwrap();
    sqlx::query("CREATE ROLE powerless LOGIN").execute(&pool).await.unwrap();
    pool.close().await;
    let url = server.url().replace("plangate@", "powerless@");
    let error = store::connect(&url, &Options::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::NotCreated { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "not a database, and long enough to look at twice\n").unwrap();
    let url = |rest: &str| format!("sqlite://{}/{rest}", folder.path().display());
    let error = store::connect(&url("file/plangate.db"), &Options::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::NotCreated { .. }), "{error}");
    let error = store::connect(&url("file"), &Options::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Store(StoreError::Corrupt(_))), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let url = Postgres::shared().url();
    open(&url).await.close().await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999, 'later', true, ''::bytea, 0)";
    sqlx::query(later).execute(&pool).await.unwrap();
    pool.close().await;
    let error = store::connect(&url, &Options::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Schema(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_and_comes_back() {
    let server = Postgres::private();
    let store = open(&server.url()).await;
    done(&*store, &put("acme")).await;
    server.stop();
    let error = store.tenant(&tenant("acme")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let error = store.grant(&[ask(totals(&bucket("acme", 1), 1, 0, 0), Version(1), 0, 1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    server.start();
    let back = async {
        // Connections that died are found out one by one.
        while store.execute(&put("acme"), &once("x", "f")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
    assert_eq!(store.tenant(&tenant("acme")).await.unwrap().version, Version(2));
    // Notifications come back too.
    let heard = async {
        loop {
            done(&*store, &put("acme")).await;
            if tokio::time::timeout(Duration::from_secs(1), store.changed()).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
    store.close().await;
}

#[test]
fn a_store_serves_other_runtimes_and_outlives_them() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let home = runtime();
    let store = home.block_on(open(&Postgres::shared().url()));
    for _ in 0..3 {
        let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        worker.block_on(async {
            let reads = (0..8).map(|_| async { store.tenant(&tenant("acme")).await.unwrap() });
            futures_util::future::join_all(reads).await;
            done(&*store, &put("acme")).await;
        });
        drop(worker);
    }
    assert_eq!(home.block_on(store.tenant(&tenant("acme"))).unwrap().version, Version(3));
    home.block_on(store.close());
}

/// Stands between a store and its server; when armed, it swallows the answer to the next COMMIT and hangs up.
struct Cutter {
    port: u16,
    armed: Arc<AtomicBool>,
}

impl Cutter {
    async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let switch = armed.clone();
        let mut lines = tokio::task::JoinSet::new();
        let accepting = async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                lines.spawn(Self::carry(client, server, switch.clone()));
            }
        };
        tokio_util::task::TaskTracker::new().spawn(accepting);
        Self { port, armed }
    }

    async fn carry(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    if server.write_all(&up[..length]).await.is_err() {
                        return;
                    }
                    let commits = up[..length].windows(7).any(|word| word == b"COMMIT\0");
                    if commits && armed.swap(false, Ordering::SeqCst) {
                        // The server's answer proves that it is done; nobody else learns of it.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_happens_once() {
    let server = Postgres::shared();
    let cutter = Cutter::before(server.port()).await;
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", cutter.port));
    let store = open(&url).await;
    done(&*store, &put("acme")).await;

    cutter.armed.store(true, Ordering::SeqCst);
    let made = store.execute(&key("acme", "k1", 1), &once("x", "f")).await.unwrap();
    assert!(!cutter.armed.load(Ordering::SeqCst), "the line was cut");
    let expected = (Version(2), Effect::KeyCreated(KeyId::parse("k1").unwrap()), false);
    assert_eq!((made.version, made.effect, made.replayed), expected, "it was this call that made the key");

    cutter.armed.store(true, Ordering::SeqCst);
    let unknown = store.execute(&put("acme"), &origin()).await;
    assert!(matches!(unknown, Err(ExecuteError::Store(StoreError::Unavailable(_)))), "{unknown:?}");
    assert_eq!(store.changes(Version(0), 10).await.unwrap().len(), 3);

    // A grant's end is found out by asking again.
    let bucket = bucket("acme", 1);
    let request = ask(totals(&bucket, 1, 0, 0), Version(3), 0, 60);
    cutter.armed.store(true, Ordering::SeqCst);
    let unknown = store.grant(std::slice::from_ref(&request)).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "{unknown:?}");
    assert_eq!(store.grant(&[request]).await.unwrap(), [GrantOutcome::Refused { granted: 60 }]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_waits_for_a_change_that_is_being_made() {
    let url = Postgres::shared().url();
    let store = open(&url).await;
    let version = done(&*store, &put("acme")).await.version;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let mut change = pool.begin().await.unwrap();
    sqlx::query("UPDATE tenants SET version = 2 WHERE id = 'acme'").execute(&mut *change).await.unwrap();

    let bucket = bucket("acme", 1);
    let requests = [ask(totals(&bucket, 1, 0, 0), version, 0, 1)];
    let grant = store.grant(&requests);
    tokio::pin!(grant);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut grant).await;
    assert!(early.is_err(), "{early:?}");
    change.commit().await.unwrap();
    assert_eq!(grant.await.unwrap(), [GrantOutcome::Stale]);
    pool.close().await;
    store.close().await;
}
