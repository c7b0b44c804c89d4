//! Reads the audit log from the server, page by page.

use http::Method;
use serde_json::Value;

use crate::cli::{
    Failure,
    client::{Call, Connection},
};

/// Lines in a page.
const PAGE: u32 = 500;

/// The lines after a place, and where to go on; `None`: these are the last ones by now.
pub(super) async fn after(
    connection: &Connection,
    cursor: u64,
) -> Result<(Vec<Value>, Option<u64>), Failure> {
    let call = Call::new(Method::GET, &["v1", "audit"])
        .query("cursor", Some(cursor.to_string()))
        .query("limit", Some(PAGE.to_string()));
    let mut answer = connection.call(call).await.map_err(|failure| match failure {
        Failure::Refused(why) => Failure::Refused(format!("the lines after {cursor} cannot be read: {why}")),
        other => other,
    })?;
    let next = answer.get("next").and_then(Value::as_u64);
    match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok((items, next)),
        _ => Err(Failure::Refused("the server's audit log has another form".to_owned())),
    }
}

/// The end of the log's chain, and where it begins.
pub(super) async fn head(connection: &Connection) -> Result<Value, Failure> {
    connection.call(Call::new(Method::GET, &["v1", "audit", "head"])).await
}
