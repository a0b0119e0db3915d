//! `GET /v1/usage`: what workspaces have used, by day.
//!
//! The leader adds ended runs up now and then; those that it has not added yet are added here.
//! Running jobs count when they end, on the days on which they ran.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lote_model::access::Scope;
use lote_model::daily_usage::{DailyUsage, RunUsage};
use lote_model::fair_share::Usage;
use lote_model::key;
use lote_model::problem::Problem;
use lote_store::{ListRequest, Store, StoreError, list_json};
use serde_json::{Value, json};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::request::Parameters;
use crate::state::ApiState;

/// How many days are told if nobody says.
const DAYS_DEFAULT: i64 = 30;

/// Days of a workspace by `group/workspace`, as names are compared.
pub(crate) type Days = BTreeMap<(String, Date), DailyUsage>;

/// Which days are told, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) first: Date,
    pub(crate) last: Date,
}

impl Period {
    fn of(parameters: &Parameters, today: Date) -> Result<Self, Problem> {
        let day = |name: &str| -> Result<Option<Date>, Problem> {
            let given = parameters.get(name);
            given.map(|text| parse_day(name, text)).transpose()
        };
        let last = day("to")?.unwrap_or(today);
        let first = day("from")?;
        let first =
            first.unwrap_or_else(|| last.saturating_sub(Span::new().days(DAYS_DEFAULT - 1)));
        if first > last {
            let message = format!("'from' ({first}) is after 'to' ({last})");
            return Err(Problem::invalid("from", message));
        }
        Ok(Self { first, last })
    }

    fn has(self, day: Date) -> bool {
        (self.first..=self.last).contains(&day)
    }
}

fn parse_day(name: &str, text: &str) -> Result<Date, Problem> {
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    day.ok_or_else(|| Problem::invalid(name, format!("{name} is a day, such as 2026-11-27")))
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    principal: Principal,
    parameters: Parameters,
) -> Answer {
    let today = state.now().to_zoned(TimeZone::UTC).date();
    let period = Period::of(&parameters, today)?;
    let days = read(state.store(), principal.scope(), period).await?;
    let rows: Vec<Value> = days.iter().map(row).collect();
    Ok(Json(json!({ "value": rows })).into_response())
}

fn row(((workspace, day), usage): (&(String, Date), &DailyUsage)) -> Value {
    let (group, name) = workspace.split_once('/').unwrap_or((workspace, ""));
    let mut row = json!({"group": group, "workspace": name, "day": day});
    if let (Value::Object(row), Ok(Value::Object(used))) = (&mut row, serde_json::to_value(usage)) {
        row.extend(used);
    }
    row
}

/// The part of the keys below a prefix that somebody may see.
fn visible(scope: &Scope) -> String {
    match scope {
        Scope::Everything => String::new(),
        Scope::Group(group) => format!("{}/", group.folded()),
        Scope::Workspace(path) => {
            format!("{}/{}/", path.group.folded(), path.workspace.folded())
        }
    }
}

/// The leader moves runs to days in one transaction. What it moves between the two lists would be
/// missing or count twice, so they are read again.
pub(crate) async fn read(
    store: &dyn Store,
    scope: &Scope,
    period: Period,
) -> Result<Days, ApiError> {
    for _ in 0..crate::records::ATTEMPTS_MAX {
        let below = visible(scope);
        let before = added_up(store, &below).await?;
        let runs = runs(store, &below).await?;
        let after = added_up(store, &below).await?;
        if before != after {
            continue;
        }
        let mut days: Days = before;
        for (workspace, run) in runs {
            for (day, usage) in run.by_day() {
                let sum = days.entry((workspace.clone(), day)).or_default();
                *sum = sum.plus(&usage);
            }
        }
        days.retain(|(_, day), _| period.has(*day));
        return Ok(days);
    }
    Err(crate::records::contended())
}

async fn added_up(store: &dyn Store, below: &str) -> Result<Days, StoreError> {
    let request = ListRequest::prefix(format!("{}{below}", key::DAILY_USAGE));
    let listing = list_json::<DailyUsage>(store, request).await?;
    let day = |entry: lote_store::Entry<DailyUsage>| {
        let (workspace, day) = entry.key.strip_prefix(key::DAILY_USAGE)?.rsplit_once('/')?;
        Some(((workspace.to_owned(), day.parse().ok()?), entry.value))
    };
    Ok(listing.items.into_iter().filter_map(day).collect())
}

/// Runs that are not added up yet, with their workspaces.
async fn runs(store: &dyn Store, below: &str) -> Result<Vec<(String, RunUsage)>, StoreError> {
    let request = ListRequest::prefix(format!("{}{below}", key::SHARES));
    let listing = list_json::<Usage>(store, request).await?;
    let run = |entry: lote_store::Entry<Usage>| {
        let (workspace, _) = entry.key.strip_prefix(key::SHARES)?.rsplit_once('/')?;
        Some((workspace.to_owned(), entry.value.run?))
    };
    Ok(listing.items.into_iter().filter_map(run).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use jiff::civil::date;

    use super::*;

    fn period(query: &str) -> Result<(Date, Date), String> {
        let uri: Uri = format!("/v1/usage?{query}").parse().unwrap();
        let parameters = Parameters::of(&uri).unwrap();
        let period = Period::of(&parameters, date(2026, 11, 27));
        period
            .map(|period| (period.first, period.last))
            .map_err(|problem| problem.target.unwrap_or_default())
    }

    #[test]
    fn a_month_until_today_is_told_unless_days_are_given() {
        let (first, last) = (date(2026, 10, 29), date(2026, 11, 27));
        assert_eq!(period(""), Ok((first, last)));
        let both = period("from=2026-01-01&to=2026-02-01");
        assert_eq!(both, Ok((date(2026, 1, 1), date(2026, 2, 1))));
        let (first, last) = (date(2025, 12, 3), date(2026, 1, 1));
        assert_eq!(period("to=2026-01-01"), Ok((first, last)));
        assert_eq!(period("from=2026-11-28"), Err("from".into()));
        for bad in [
            "from=",
            "from=yesterday",
            "from=2026-11-27T10:00:00",
            "from=20261127",
        ] {
            assert_eq!(period(bad), Err("from".into()), "{bad}");
        }
    }
}
