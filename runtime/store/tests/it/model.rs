//! Random operations against a model in memory.

use std::collections::BTreeMap;

use lote_store::{
    Commit, Event, ListRequest, Revision, Store, StoreError, Transaction, Versioned, Write,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{next, open};

/// What a store must do, in a few lines.
#[derive(Default)]
struct Model {
    keys: BTreeMap<String, Versioned>,
    revision: Revision,
}

impl Model {
    fn commit(&mut self, transaction: &Transaction) -> Commit {
        let holds = |key: &String, revision| {
            self.keys
                .get(key)
                .map_or(0, |versioned| versioned.mod_revision)
                == revision
        };
        if !transaction
            .compares
            .iter()
            .all(|compare| holds(&compare.key, compare.mod_revision))
        {
            return Commit::Conflict {
                revision: self.revision,
            };
        }
        let mut changed = false;
        for write in &transaction.writes {
            changed |= self.write(write);
        }
        self.revision += Revision::from(changed);
        Commit::Applied {
            revision: self.revision,
        }
    }

    fn write(&mut self, write: &Write) -> bool {
        match write {
            Write::Put { key, value, .. } => {
                let mod_revision = self.revision + 1;
                let before = self.keys.get(key);
                let versioned = Versioned {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.map_or(mod_revision, |found| found.create_revision),
                    mod_revision,
                    version: before.map_or(1, |found| found.version + 1),
                };
                self.keys.insert(key.clone(), versioned);
                true
            }
            Write::Delete { key } => self.keys.remove(key).is_some(),
            Write::DeletePrefix { prefix } => {
                let before = self.keys.len();
                self.keys.retain(|key, _| !key.starts_with(prefix.as_str()));
                self.keys.len() < before
            }
        }
    }

    fn list(&self, prefix: &str) -> Vec<Versioned> {
        self.keys
            .values()
            .filter(|item| item.key.starts_with(prefix))
            .cloned()
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The numbers of the compares say how: absent, the right revision, or one that is off.
    Commit {
        compares: Vec<(String, u8)>,
        writes: Vec<Write>,
    },
    List {
        prefix: String,
        after: Option<String>,
        limit: Option<usize>,
    },
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    "[ab](/[ab]){0,2}"
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (key(), "[0-9]{0,3}").prop_map(|(key, value)| Write::put(key, value)),
        2 => key().prop_map(Write::delete),
        1 => key().prop_map(Write::delete_prefix),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let commit = (vec((key(), 0..3_u8), 0..3), vec(write(), 0..4))
        .prop_map(|(compares, writes)| Step::Commit { compares, writes });
    let list = (
        "[ab]?/?",
        proptest::option::of(key()),
        proptest::option::of(0..4_usize),
    )
        .prop_map(|(prefix, after, limit)| Step::List {
            prefix,
            after,
            limit,
        });
    prop_oneof![12 => commit, 4 => list, 1 => Just(Step::Reopen)]
}

fn transaction(model: &Model, compares: &[(String, u8)], writes: &[Write]) -> Transaction {
    let transaction = Transaction {
        compares: Vec::new(),
        writes: writes.to_vec(),
    };
    compares
        .iter()
        .fold(transaction, |transaction, (key, how)| {
            let actual = model
                .keys
                .get(key)
                .map_or(0, |versioned| versioned.mod_revision);
            let wanted = match how {
                0 => 0,
                1 => actual,
                _ => actual + 1,
            };
            transaction.require_revision(key.clone(), wanted)
        })
}

async fn assert_list(
    store: &dyn Store,
    model: &Model,
    prefix: &str,
    after: Option<&String>,
    limit: Option<usize>,
) {
    let request = ListRequest {
        after: after.cloned(),
        limit,
        ..ListRequest::prefix(prefix.to_owned())
    };
    let listing = store.list(request).await.unwrap();
    let mut expected = model.list(prefix);
    expected.retain(|item| after.is_none_or(|after| item.key > *after));
    let more = limit.is_some_and(|limit| expected.len() > limit);
    expected.truncate(limit.unwrap_or(usize::MAX));
    assert_eq!((listing.items, listing.more), (expected, more));
    assert_eq!(listing.revision, model.revision);
}

/// The history alone must lead to the same keys.
async fn assert_history(store: &dyn Store, model: &Model) {
    let mut watch = store.watch("", 1).await.unwrap();
    let mut replayed = BTreeMap::new();
    for revision in 1..=model.revision {
        let batch = next(&mut watch).await.unwrap();
        assert_eq!(batch.revision, revision);
        for event in batch.events {
            match event {
                Event::Put(versioned) => {
                    replayed.insert(versioned.key.clone(), versioned);
                }
                Event::Delete { key, .. } => {
                    assert!(replayed.remove(&key).is_some(), "{key} was not there");
                }
            }
        }
    }
    assert_eq!(replayed, model.keys);
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Commit { compares, writes } => {
                let transaction = transaction(&model, &compares, &writes);
                match store.commit(transaction.clone()).await {
                    Ok(outcome) => assert_eq!(outcome, model.commit(&transaction)),
                    Err(StoreError::DuplicateKey { .. }) => {
                        assert!(transaction.validate().is_err());
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::List {
                prefix,
                after,
                limit,
            } => {
                assert_list(&store, &model, &prefix, after.as_ref(), limit).await;
            }
            Step::Reopen => {
                drop(store);
                store = open(folder.path());
            }
        }
    }
    assert_list(&store, &model, "", None, None).await;
    assert_history(&store, &model).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_match_the_model(steps in vec(step(), 1..50)) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps));
    }
}
