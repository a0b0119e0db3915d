//! The embedded store is a store.

use std::sync::{Arc, Mutex};

use lote_store::{Store, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_store_conforms() {
    let folders = Mutex::new(Vec::new());
    conformance::run_all(|| async {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(crate::open(folder.path()));
        folders.lock().unwrap().push(folder);
        store
    })
    .await;
}
