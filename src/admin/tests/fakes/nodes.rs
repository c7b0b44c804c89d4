//! Nodes, and how far changes have come on them.

use std::time::Duration;

use async_trait::async_trait;

use super::Fake;
use crate::{
    domain::{
        catalog::Digest,
        time::{Epoch, UnixMillis, Version},
    },
    ports::*,
};

#[async_trait]
impl NodeStore for Fake {
    async fn register(&self, _: &Registration) -> Result<Registered, RegisterError> {
        Ok(Registered { version: Version(0), epoch: Epoch(0) })
    }

    async fn poll(&self, _: &Heartbeat) -> Result<PollAnswer, StoreError> {
        Err(StoreError::Unavailable("not for this test".into()))
    }

    async fn deregister(&self, _: Incarnation) -> Result<(), StoreError> {
        Ok(())
    }

    async fn declare_lost(&self, name: &str, _: &Origin) -> Result<Lost, LostError> {
        self.0.check()?;
        match name {
            "a" => Ok(Lost { slots: 2, units: 7 }),
            _ => Err(LostError::Unknown(name.to_owned())),
        }
    }

    async fn left_behind(&self, _: &str, _: Incarnation) -> Result<Lost, StoreError> {
        Ok(Lost { slots: 0, units: 0 })
    }

    async fn open_file(&self, _: uuid::Uuid, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.0.check()?;
        Ok(self.0.nodes.lock().unwrap().clone())
    }

    async fn changed(&self) {}
}

#[async_trait]
impl Barrier for Fake {
    async fn applied(&self, version: Version) -> Applied {
        self.0.waited.lock().unwrap().push(version);
        Applied { nodes: 1, pending: self.0.pending.lock().unwrap().clone() }
    }
}

pub fn node(name: &str, applied: u64, digest: &str, age: Duration) -> NodeRow {
    NodeRow {
        name: name.to_owned(),
        incarnation: Incarnation(uuid::Uuid::nil()),
        applied: Version(applied),
        digest: Digest(digest.into()),
        beat_age: age,
        beat: UnixMillis(0),
    }
}
