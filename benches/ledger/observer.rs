//! What a database did, as seen from outside: its server's own counts, read from another database of the server.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// What a session is for. Each has a role of its own, by which the server tells its statements from the others'.
pub const PURPOSES: [&str; 4] = ["grants", "flushes", "looks", "polls"];

/// Statements by the purpose of the session that sent them, `BEGIN` and `COMMIT` included.
pub type Statements = BTreeMap<String, i64>;

pub struct Observer {
    connection: PgConnection,
    database: String,
    /// Whether `pg_stat_statements` is there.
    pub sees_statements: bool,
}

impl Observer {
    /// Makes the roles, which live as long as this does.
    pub async fn new(url: &str) -> Self {
        let options: PgConnectOptions = url.parse().unwrap();
        let database = options.get_database().unwrap().to_owned();
        let mut connection = options.database("postgres").connect().await.unwrap();
        for role in PURPOSES.map(role) {
            // A run that was cut off may have left them behind.
            execute(&mut connection, format!("DROP ROLE IF EXISTS {role}")).await.unwrap();
            execute(&mut connection, format!("CREATE ROLE {role} IN ROLE CURRENT_USER")).await.unwrap();
        }
        // Stays behind; readable only where the server loads the library.
        let made = execute(&mut connection, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements".into()).await;
        let read = execute(&mut connection, "SELECT count(*) FROM pg_stat_statements".into()).await;
        Self { connection, database, sees_statements: made.is_ok() && read.is_ok() }
    }

    /// All statements so far.
    pub async fn statements(&mut self) -> Statements {
        if !self.sees_statements {
            return Statements::new();
        }
        let ask = "SELECT r.rolname::text, sum(s.calls)::bigint FROM pg_stat_statements(false) s \
                   JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid \
                   WHERE d.datname = $1 AND r.rolname LIKE 'plangate_bench_%' GROUP BY 1";
        let rows: Vec<(String, i64)> =
            sqlx::query_as(ask).bind(&self.database).fetch_all(&mut self.connection).await.unwrap();
        rows.into_iter().map(|(role, calls)| (role.replace("plangate_bench_", ""), calls)).collect()
    }

    /// All transactions so far that sessions have reported: at their end, or after ten seconds of rest.
    pub async fn transactions(&mut self) -> i64 {
        let ask = "SELECT xact_commit FROM pg_stat_database WHERE datname = $1";
        sqlx::query_scalar(ask).bind(&self.database).fetch_one(&mut self.connection).await.unwrap()
    }

    /// Removes the roles; what they may own is nothing.
    pub async fn end(mut self) {
        for role in PURPOSES.map(role) {
            execute(&mut self.connection, format!("DROP ROLE {role}")).await.unwrap();
        }
        self.connection.close().await.unwrap();
    }
}

fn role(purpose: &str) -> String {
    format!("plangate_bench_{purpose}")
}

/// The address of the database for sessions of this purpose.
pub fn address(url: &str, purpose: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}options=-c%20role%3D{}", role(purpose))
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
