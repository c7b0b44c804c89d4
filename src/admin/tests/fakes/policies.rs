//! Policies that decide, are compiled and tried, and what tenants used that they are tried on.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use super::{super::policies::catalog, Fake};
use crate::{
    domain::{
        catalog::Catalog,
        id::TenantId,
        impact::{DayUse, Lookback, Spent},
        revision::PolicyFiles,
        time::UnixMillis,
    },
    ports::*,
};

impl Policies for Fake {
    fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.lock().unwrap().clone()
    }
}

impl PolicyCompiler for Fake {
    fn compile(&self, files: &PolicyFiles) -> Result<(Catalog, Vec<Finding>), Vec<Finding>> {
        // The adapter is not this room's to know; whoever gives files of this name gets the catalog of the tests.
        match files.0.get("routes.yaml") {
            Some(_) => {
                let candidate = self.0.candidate.lock().unwrap().clone();
                Ok((candidate.unwrap_or_else(|| Catalog::clone(&catalog())), Vec::new()))
            }
            None => Err(vec![Finding {
                severity: "error",
                code: "file-missing",
                message: "the folder has no routes.yaml".to_owned(),
                help: None,
                file: "routes.yaml".to_owned(),
                place: None,
                source: None,
            }]),
        }
    }
}

#[async_trait]
impl SurveyStore for Fake {
    async fn used_of(
        &self,
        tenants: &[Lookback],
        _: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<DayUse>>, StoreError> {
        self.0.check()?;
        let held = self.0.held.lock().unwrap().take();
        if let Some(held) = held {
            let _ = held.await;
        }
        let days = self.0.days.lock().unwrap();
        let of = |one: &Lookback| Some((one.tenant.clone(), days.get(&one.tenant)?.clone()));
        Ok(tenants.iter().filter_map(of).collect())
    }

    async fn spent_of(
        &self,
        _: &[Lookback],
        _: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<Spent>>, StoreError> {
        Ok(self.0.spent.lock().unwrap().clone())
    }

    async fn told_of(
        &self,
        _: &[TenantId],
    ) -> Result<HashMap<TenantId, Vec<crate::domain::stripe::StripeEvent>>, StoreError> {
        Ok(HashMap::new())
    }
}

#[async_trait]
impl Previews for Fake {
    async fn preview(&self, catalog: Catalog) -> Result<Catalog, StoreError> {
        self.0.check()?;
        Ok(catalog)
    }
}
