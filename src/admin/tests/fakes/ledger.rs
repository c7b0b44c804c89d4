//! A ledger that knows what a test says was used.

use std::{collections::BTreeSet, sync::Arc};

use super::{Fake, units};
use crate::{
    domain::{
        id::MeterId,
        period::Window,
        rights::{Rights, Source},
        route::Charge,
        time::UnixMillis,
    },
    ports::*,
};

impl Ledger for Fake {
    fn charge(&self, _: &Arc<Rights>, _: &[Charge], _: UnixMillis) -> Answer<Hold, ChargeError> {
        panic!("the admin API charges nothing")
    }

    fn usage(&self, rights: &Arc<Rights>, now: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>> {
        let (world, rights) = (Arc::clone(&self.0), Arc::clone(rights));
        Box::pin(async move {
            world.check()?;
            let calendar = &rights.entitlement.as_ref().unwrap().calendar;
            let (used, beside) = (world.used.lock().unwrap(), world.beside.lock().unwrap());
            let names: BTreeSet<&str> =
                used.keys().map(|(meter, _)| *meter).chain(beside.keys().map(|(meter, _)| *meter)).collect();
            let usage = |meter: &str| {
                let windows = used.iter().filter(|((of, _), _)| *of == meter);
                let windows = windows.map(|((_, window), (used, uncertain))| WindowUsage {
                    window: *window,
                    period: calendar.period(*window, now),
                    limit: None,
                    used: units(*used),
                    uncertain: units(*uncertain),
                });
                let month = used.iter().filter(|((of, window), _)| (*of, *window) == (meter, Window::Month));
                let month = month.map(|(_, used)| (Source::Plan, *used));
                let beside = beside.iter().filter(|((of, _), _)| *of == meter);
                let sources = month.chain(beside.map(|((_, source), used)| (*source, *used)));
                let sources = sources.map(|(source, (used, uncertain))| SourceUsage {
                    source,
                    period: calendar.month(now),
                    limit: None,
                    used: units(used),
                    uncertain: units(uncertain),
                });
                let (windows, sources) = (windows.collect(), sources.collect());
                MeterUsage { meter: MeterId::parse(meter).unwrap(), windows, sources }
            };
            Ok(names.into_iter().map(usage).collect())
        })
    }
}
